"""Sets of edits with everything that is asked about them.

A benchmark yields `EditCase`s; where they come from and in which fields they are kept is its own
business. `fields` writes cases in the fields of public sets, so that other tools can read them;
`reading` reads those fields.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scr.evaluation.benchmarks.base import Benchmark
    from scr.evaluation.benchmarks.labworld import LabWorldBenchmark

__all__ = ["Benchmark", "LabWorldBenchmark"]

_HOMES = {"Benchmark": "base", "LabWorldBenchmark": "labworld"}


def __getattr__(name: str) -> object:
    # Loaded when asked for: who only reads records should not wait for the lab.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
