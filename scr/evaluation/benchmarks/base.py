"""What every benchmark has."""

from collections.abc import Iterator
from typing import Protocol

from scr.edits import EditCase


class Benchmark(Protocol):
    """Yields the cases of one set, the same ones in the same order every time."""

    @property
    def name(self) -> str:
        """Names the set and how it was drawn, for reports."""
        ...

    def __call__(self) -> Iterator[EditCase]:
        """Yield the cases."""
        ...
