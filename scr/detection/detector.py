"""The detector: subject grounding and relation compatibility, joined and calibrated."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from scr.detection.features import NAMES, measure
from scr.detection.trees import Calibration, Trees
from scr.errors import InvalidInput
from scr.records import Candidate, Decision, Detector, Evidence, Match, Query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS = "weights.json"
GROUNDED = 0.8  # similarity of a mention from which a reason says that it names the subject
SHOWN = 160  # characters of a key or name in a reason


class TreeDetector:
    """Boosted trees over the features of each candidate; a pure function of its arguments."""

    def __init__(
        self, weights: Mapping[str, Any], *, threshold: float | None = None, max_facts: int = 8
    ) -> None:
        """Take the weights as `scr.detection.fitting` writes them.

        Args:
            weights: as in `weights.json`.
            threshold: probability from which a fact applies; `None`: the weights' own.
            max_facts: most facts that may apply at once.

        Raises:
            InvalidInput: the weights were fitted to other features.
        """
        if tuple(weights["features"]) != NAMES:
            raise InvalidInput(
                "these detector weights were fitted to other features; fit them anew with "
                "`python scripts/train_detector.py`"
            )
        self.trees = Trees.load(weights["ensemble"])
        self.calibration = Calibration.load(weights["calibration"])
        self.threshold = float(weights["threshold"] if threshold is None else threshold)
        self.max_facts = max_facts
        self.name = f"trees-{weights['version']}"

    def __call__(self, query: Query, candidates: Sequence[Candidate]) -> Decision:
        """Choose among the candidates. Never raises for any text."""
        rows = measure(query, candidates)
        shares = self.trees.contributions(rows)
        log_odds = self.trees.baseline + shares.sum(axis=1)
        probabilities = self.calibration(log_odds)
        order = sorted(
            range(len(candidates)), key=lambda at: (-log_odds[at], candidates[at].fact.id)
        )
        fired = [at for at in order if probabilities[at] >= self.threshold][: self.max_facts]
        refused = [at for at in order if probabilities[at] < self.threshold]
        matches = tuple(_match(candidates[at], probabilities[at], shares[at]) for at in fired)
        runner_up = (
            _match(candidates[refused[0]], probabilities[refused[0]], shares[refused[0]])
            if refused
            else None
        )
        return Decision(
            applies=bool(matches),
            matches=matches,
            probability=float(probabilities[order[0]]) if order else 0.0,
            reason=_reason(matches, runner_up, candidates[refused[0]] if refused else None),
            runner_up=runner_up,
            threshold=self.threshold,
            detector=self.name,
        )


def load_detector(threshold: float | None = None, max_facts: int = 8) -> Detector:
    """Return the detector that ships with the package.

    Args:
        threshold: probability from which a fact applies; `None`: the calibrated one.
        max_facts: most facts that may apply at once.
    """
    return TreeDetector(shipped_weights(), threshold=threshold, max_facts=max_facts)


def shipped_weights() -> dict[str, Any]:
    """Return the weights file of the package, its card included."""
    text = files("scr.detection").joinpath(WEIGHTS).read_text(encoding="utf-8")
    weights: dict[str, Any] = json.loads(text)
    return weights


def _match(candidate: Candidate, probability: float, shares: "NDArray[np.float64]") -> Match:
    ranked = sorted(zip(NAMES, shares.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    return Match(
        fact=candidate.fact,
        probability=float(probability),
        evidence=Evidence(
            mention=candidate.mention,
            key=candidate.key,
            contributions={name: round(share, 3) for name, share in ranked if abs(share) >= 5e-4},
        ),
    )


def _reason(matches: Sequence[Match], runner_up: Match | None, refused: Candidate | None) -> str:
    if matches:
        best = matches[0]
        more = f", and {len(matches) - 1} more" if len(matches) > 1 else ""
        return (
            f"{_grounding(best)}, and the query asks what {_quoted(best.evidence.key)} asks{more}"
        )
    if runner_up is None or refused is None:
        return "no fact of the store may answer this query"
    if refused.mention is None:
        return f"the query names no subject of a fact; the nearest is {_subject(runner_up)}"
    if refused.mention.similarity < GROUNDED:
        return f"{_quoted(refused.mention.text)} is not sure enough to mean {_subject(runner_up)}"
    return (
        f"{_grounding(runner_up)}, but the query does not ask what "
        f"{_quoted(runner_up.evidence.key)} asks"
    )


def _grounding(match: Match) -> str:
    mention = match.evidence.mention
    if mention is None:
        return f"the query is about {_subject(match)}"
    where = "an earlier turn" if mention.turn is not None else "the query"
    if mention.similarity >= 1:
        return f"{_quoted(mention.text)} in {where} names {_subject(match)}"
    return f"{_quoted(mention.text)} in {where} is nearly {_quoted(mention.name)}"


def _subject(match: Match) -> str:
    return _quoted(match.fact.subject or match.fact.questions[0])


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"\u201c{line[:SHOWN]}\u2026\u201d" if len(line) > SHOWN else f"\u201c{line}\u201d"
