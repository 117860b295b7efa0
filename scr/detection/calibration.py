"""Fitting probabilities and thresholds to a team's own queries.

The shipped detector's probabilities hold for what it was fitted to; with another embedder or on
facts of another kind they are off, mostly by a shift. Two numbers mend that. A threshold for a
wanted rate of false fires comes from the queries that nothing answers.
Knows nothing of how a decision is made: probabilities in, probabilities out.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
from pydantic import Field, ValidationError

from scr.errors import InvalidInput
from scr.facts import explain
from scr.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST: Final = 20  # queries of each kind without which nothing is fitted
_EDGE: Final = 1e-6  # probabilities are kept this far from 0 and 1
_RIDGE: Final = 1.0  # of the fit, so that two perfectly told apart kinds give finite numbers


class Recalibration(Record):
    """A monotone map of probabilities, and the false fires it was fitted on.

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines": a logistic regression on
        the log-odds.
    """

    format: Literal[1] = 1

    embedder: str
    """Hash of the embedding model it belongs to."""

    detector: str
    """Name of the detector whose probabilities it maps: with the reader they are others."""

    slope: float = Field(default=1.0, gt=0)
    intercept: float = 0.0
    """Log-odds after: `slope` times those before, plus `intercept`."""

    answered: int = Field(ge=0)
    """Queries with an answer that it was fitted on."""

    unanswered: tuple[float, ...]
    """Mapped probabilities, ascending, of the queries without one."""

    @classmethod
    def fit(
        cls,
        probabilities: Sequence[float],
        answered: Sequence[bool],
        *,
        embedder: str,
        detector: str,
    ) -> Self:
        """Return the map under which the probabilities of some queries are right.

        Args:
            probabilities: of each query that some fact applies, as the detector gave it.
            answered: whether one did.
            embedder: hash of the embedding model that was used.
            detector: name of the detector that was.

        Raises:
            InvalidInput: too few queries of a kind, or the answered ones are the less probable.
        """
        counts = (sum(answered), len(answered) - sum(answered))
        if min(counts) < LEAST:
            raise InvalidInput(
                f"{counts[0]} queries that a fact answers and {counts[1]} that none does are too "
                f"few to calibrate on: give at least {LEAST} of each"
            )
        from sklearn.linear_model import LogisticRegression

        odds = _log_odds(probabilities)
        model = LogisticRegression(C=1 / _RIDGE).fit(odds[:, None], np.asarray(answered))
        slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
        if slope <= 0:
            raise InvalidInput(
                "queries that a fact answers get lower probabilities than those that none does: "
                "the ids in `gold` are not those of the facts, or the embedding model is unfit"
            )
        mapped = cls(
            embedder=embedder,
            detector=detector,
            slope=slope,
            intercept=intercept,
            answered=counts[0],
            unanswered=(),
        )
        without = (mapped(p) for p, has in zip(probabilities, answered, strict=True) if not has)
        return mapped.model_copy(update={"unanswered": tuple(sorted(without))})

    def __call__(self, probability: float) -> float:
        """Return what a probability of the detector becomes."""
        odds = float(_log_odds([probability])[0])
        return 1 / (1 + math.exp(-(self.slope * odds + self.intercept)))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InvalidInput: it is no such file.
        """
        advice = "make one with `scr detector calibrate`"
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} cannot be read ({error}); {advice}") from error
        except ValidationError as error:
            raise InvalidInput(f"{path} is no calibration: {explain(error)}; {advice}") from error


def threshold_for(rate: float, unanswered: Sequence[float]) -> float:
    """Return the least threshold that keeps the expected rate of false fires at `rate`.

    On average over draws of the calibration queries, no more than `rate` of new queries like them
    that nothing answers will fire something.

    Args:
        rate: wanted, in (0, 1).
        unanswered: probabilities of queries that nothing answers.

    Raises:
        InvalidInput: there are too few of them to promise it.

    Source:
        Angelopoulos et al. 2024, "Conformal Risk Control", arXiv:2208.02814, equation 4, with the
        loss 1 for a false fire.
    """
    number = len(unanswered)
    allowed = math.floor(rate * (number + 1) - 1 + 1e-9)  # of them that may fire
    if allowed < 0:
        needed = math.ceil(1 / rate) - 1
        raise InvalidInput(
            f"{number} queries without an answer cannot promise a rate of {rate:g}: calibrate on "
            f"at least {needed}, or allow more"
        )
    ranked = sorted(unanswered, reverse=True)
    if allowed >= number:
        return _EDGE
    return min(math.nextafter(ranked[allowed], 1.0), 1 - _EDGE)


def _log_odds(probabilities: Sequence[float]) -> "NDArray[np.float64]":
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))
