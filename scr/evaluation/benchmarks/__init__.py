"""Sets of edits with everything that is asked about them.

A benchmark yields `EditCase`s; where they come from and in which fields they are kept is its own
business. `fields` writes cases in the fields of public sets, so that other tools can read them.
"""

from scr.evaluation.benchmarks.base import Benchmark
from scr.evaluation.benchmarks.labworld import LabWorldBenchmark

__all__ = ["Benchmark", "LabWorldBenchmark"]
