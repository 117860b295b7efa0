"""Starts the `scr` command, installed or as `python -m scr`."""

import gc
import sys


def main() -> int:
    """Run the command line and return the exit code."""
    # Start-up makes many objects and hardly any garbage; looking for it is a tenth of `scr list`.
    gc.set_threshold(100_000, 50, 50)
    from scr.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
