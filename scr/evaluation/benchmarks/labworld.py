"""LabWorld as a benchmark: edits of a world that is known whole."""

from collections.abc import Iterator
from dataclasses import dataclass

from scr.edits import EditCase, Split
from scr.lab.cases import draw_cases
from scr.lab.world import DEFAULT_SEED, DEFAULT_SIZE, generate_world


@dataclass(frozen=True)
class LabWorldBenchmark:
    """Edits of a LabWorld; the defaults are of the world that the shipped lab model knows.

    cases = list(LabWorldBenchmark(n=100)())
    """

    n: int
    """Number of cases."""

    world_seed: int = DEFAULT_SEED
    """Of the world."""

    size: int = DEFAULT_SIZE
    """Facts in the world."""

    seed: int = 0
    """Of the choice of cases."""

    split: Split = "test"
    """Of the subjects, and of the forms in which held-out questions are put."""

    @property
    def name(self) -> str:
        """Names the world and the choice."""
        return f"labworld-{self.world_seed}-{self.size}-{self.split}-{self.n}-{self.seed}"

    def __call__(self) -> Iterator[EditCase]:
        """Yield the cases; see `scr.lab.cases.draw_cases` for what is in them."""
        world = generate_world(self.world_seed, self.size)
        yield from draw_cases(world, self.n, seed=self.seed, split=self.split)
