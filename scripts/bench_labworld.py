"""How long a LabWorld takes to make, and how much memory; each size in a process of its own.

python scripts/bench_labworld.py
"""

import resource
import subprocess
import sys
import time

SIZES = (10_000, 100_000, 1_000_000)


def make(size: int) -> None:
    """Make one world and print its size, the seconds it took and the peak memory in MiB."""
    from scr.lab.world import generate_world

    start = time.perf_counter()
    world = generate_world(0, size)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(world.facts):>9,} facts  {seconds:6.2f} s  {peak:6.0f} MiB")


def main() -> None:
    """Make a world of each size."""
    for size in SIZES:
        subprocess.run([sys.executable, __file__, str(size)], check=True)


if __name__ == "__main__":
    make(int(sys.argv[1])) if len(sys.argv) > 1 else main()
