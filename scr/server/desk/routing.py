"""What a page module hands over: its routes."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Route(NamedTuple):
    """A page of the desk, or a change that one asks for."""

    path: str
    """Below `/ui`."""

    method: str
    answer: Callable[..., Any]


Routes = Iterator[Route]
