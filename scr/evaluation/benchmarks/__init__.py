"""Sets of edits with everything that is asked about them.

A benchmark yields `EditCase`s; where they come from and in which fields they are kept is its own
business. `fields` writes cases in the fields of public sets, so that other tools can read them;
`reading` reads those fields.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scr.evaluation.benchmarks.base import Benchmark
    from scr.evaluation.benchmarks.labworld import LabWorldBenchmark

__all__ = ["Benchmark", "LabWorldBenchmark"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: who only reads records should not wait for the lab.
    from scr.evaluation.benchmarks import base, labworld

    homes = {"Benchmark": base, "LabWorldBenchmark": labworld}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(homes[name], name)
