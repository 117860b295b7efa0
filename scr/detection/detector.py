"""The detector: subject grounding, relation compatibility and a close reading, calibrated."""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scr.detection.calibration import Recalibration, threshold_for
from scr.detection.features import (
    NAMES,
    READ_NAMES,
    discussed,
    measure,
    subject_of,
    with_readings,
)
from scr.detection.reader import Reader, load_reader
from scr.detection.trees import Scorer
from scr.errors import InvalidInput
from scr.records import Candidate, Decision, Detector, Evidence, Match, Query

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "trees.json"
POSSIBLE = 0.005  # probability by the features alone from which a candidate is read
RULED = 0.99  # probability of a rule whose subject is named exactly
READ = 4  # candidates that are read at most
GROUNDED = 0.8  # similarity of a mention from which a reason says that it names the subject
SHOWN = 160  # characters of a key or name in a reason


class _Judged(NamedTuple):
    """A candidate with what was decided about it."""

    candidate: Candidate
    probability: float
    log_odds: float
    shares: dict[str, float]
    """Of each feature in the log-odds."""


class TreeDetector:
    """Boosted trees over the features of each candidate; a pure function of its arguments.

    With a reader there are two stages: what the features alone leave possible is read, and judged
    anew by trees that know the reading too.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        *,
        reader: Reader | None = None,
        recalibration: Recalibration | None = None,
        threshold: float | None = None,
        max_facts: int = 8,
    ) -> None:
        """Take the weights as `scr.detection.fitting` writes them.

        Args:
            weights: as in `weights/trees.json`.
            reader: reads what the features leave possible; `None`: they alone decide.
            recalibration: makes the probabilities right for other facts or another embedder.
            threshold: probability from which a fact applies; `None`: the weights' own.
            max_facts: most facts that may apply at once.

        Raises:
            InvalidInput: the weights were fitted to other features, or the recalibration to another
                detector.
        """
        self.first = Scorer.load(weights["features"])
        self.second = Scorer.load(weights["reading"]) if reader is not None else None
        expected = ((self.first, NAMES), (self.second, READ_NAMES))
        if any(scorer is not None and scorer.features != names for scorer, names in expected):
            raise InvalidInput(
                "these detector weights were fitted to other features; fit them anew with "
                "`python scripts/train_detector.py`"
            )
        self._reader = reader
        self.name = f"trees-{weights['version']}" + ("+reader" if reader is not None else "")
        if recalibration is not None and recalibration.detector != self.name:
            raise InvalidInput(
                f"the calibration was made with the detector {recalibration.detector}, and this is "
                f"{self.name}: make it anew with `scr detector calibrate`"
            )
        self._recalibration = recalibration
        self.threshold = float(weights["threshold"] if threshold is None else threshold)
        self.max_facts = max_facts

    def __call__(self, query: Query, candidates: Sequence[Candidate]) -> Decision:
        """Choose among the candidates. Never raises for any text."""
        return self.many([query], [candidates])[0]

    def many(
        self, queries: Sequence[Query], found: Sequence[Sequence[Candidate]]
    ) -> list[Decision]:
        """Decide on each query with its candidates; what is read is read at once."""
        rows = [measure(query, own) for query, own in zip(queries, found, strict=True)]
        judged = [_judged(self.first, r, own) for r, own in zip(rows, found, strict=True)]
        for query, own in zip(queries, judged, strict=True):
            own[:] = [_ruled(query, one) for one in own]
        if self._reader is not None and self.second is not None:
            chosen = [_to_read(own) for own in judged]
            pairs = [
                (own[at].masked_passage, own[at].masked_fact)
                for own, at_all in zip(found, chosen, strict=True)
                for at in at_all
            ]
            readings = self._reader(pairs)
            start = 0
            for number, at_all in enumerate(chosen):
                if at_all:
                    own_readings = readings[start : start + len(at_all)]
                    start += len(at_all)
                    judged[number] = _reread(
                        self.second, judged[number], rows[number], at_all, own_readings
                    )
        return [self._decided(own) for own in judged]

    def _decided(self, judged: list[_Judged]) -> Decision:
        if (recalibrate := self._recalibration) is not None:
            judged = [j._replace(probability=recalibrate(j.probability)) for j in judged]
        judged = sorted(judged, key=lambda j: (-j.probability, -j.log_odds, j.candidate.fact.id))
        ways: dict[str, _Judged] = {}  # a fact may be found by itself and over others
        for one in judged:
            ways.setdefault(one.candidate.fact.id, one)
        ranked = list(ways.values())
        fired = [j for j in ranked if j.probability >= self.threshold][: self.max_facts]
        refused = next((j for j in ranked if j.probability < self.threshold), None)
        matches = tuple(_match(j) for j in fired)
        return Decision(
            applies=bool(matches),
            matches=matches,
            probability=ranked[0].probability if ranked else 0.0,
            reason=_reason(matches, refused),
            runner_up=_match(refused) if refused else None,
            threshold=self.threshold,
            detector=self.name,
        )


def load_detector(
    threshold: float | None = None,
    max_facts: int = 8,
    *,
    reader: bool = True,
    recalibration: Recalibration | None = None,
    max_false_fire_rate: float | None = None,
) -> Detector:
    """Return the detector that ships with the package.

    Args:
        threshold: probability from which a fact applies; `None`: the calibrated one.
        max_facts: most facts that may apply at once.
        reader: whether what the features leave possible is read by the cross-encoder.
        recalibration: fitted to other queries; `None`: the shipped probabilities.
        max_false_fire_rate: instead of a threshold, the rate of false fires that it is to keep
            among queries that nothing answers: those of the recalibration, or else those that the
            detector was fitted to.

    Raises:
        InvalidInput: both a threshold and a rate are given, the rate cannot be promised, or the
            recalibration was fitted to another detector.
        ModelUnavailable: the reader's files are missing or damaged.
    """
    weights = shipped_weights()
    if max_false_fire_rate is not None:
        if threshold is not None:
            raise InvalidInput("give a threshold or a max_false_fire_rate, not both")
        if recalibration is not None:
            unanswered = recalibration.unanswered
        else:
            tail = weights["unanswered"]["reading" if reader else "features"]
            unanswered = (*tail["probabilities"], *[0.0] * tail["below"])
        threshold = threshold_for(max_false_fire_rate, unanswered)
    return TreeDetector(
        weights,
        reader=load_reader() if reader else None,
        recalibration=recalibration,
        threshold=threshold,
        max_facts=max_facts,
    )


def shipped_weights() -> dict[str, Any]:
    """Return the weights file of the package, its card included."""
    text = files("scr.detection").joinpath("weights", WEIGHTS).read_text(encoding="utf-8")
    weights: dict[str, Any] = json.loads(text)
    return weights


def _ruled(query: Query, judged: _Judged) -> _Judged:
    """Return a rule judged by its subject alone: it applies whenever that is discussed."""
    fact = judged.candidate.fact
    if fact.kind != "rule" or not fact.names:
        return judged
    sure = min(discussed(query, judged.candidate), RULED)
    return judged._replace(
        probability=sure, log_odds=math.log(max(sure, 1 - RULED) / (1 - sure)), shares={}
    )


def possible(
    queries: "NDArray[np.int64]",
    log_odds: "NDArray[np.float64]",
    probabilities: "NDArray[np.float64]",
) -> "NDArray[np.bool_]":
    """Return which candidates are read: those possible, at most `READ` of a query.

    Args:
        queries: `(n,)` number of each candidate's query.
        log_odds: `(n,)` by the features alone; the likeliest are read.
        probabilities: `(n,)` what they are calibrated to.
    """
    order = np.lexsort((-log_odds, queries))
    firsts = np.flatnonzero(np.diff(queries[order], prepend=-1))
    starts = np.repeat(firsts, np.diff(np.append(firsts, len(order))))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - starts
    return np.asarray((probabilities >= POSSIBLE) & (rank < READ))


def _to_read(judged: Sequence[_Judged]) -> list[int]:
    """Return the places of one query's candidates to read; rules are not."""
    places = np.array([at for at, j in enumerate(judged) if j.candidate.fact.kind != "rule"], int)
    own = [judged[at] for at in places]
    chosen = possible(
        np.zeros(len(own), dtype=np.int64),
        np.array([j.log_odds for j in own]),
        np.array([j.probability for j in own]),
    )
    found: list[int] = places[chosen].tolist()
    return found


def _reread(
    second: Scorer,
    judged: list[_Judged],
    rows: "NDArray[np.float64]",
    chosen: Sequence[int],
    readings: "NDArray[np.float64]",
) -> list[_Judged]:
    """Return the candidates with those that were read judged anew."""
    own = [judged[at].candidate for at in chosen]
    subjects = np.unique([subject_of(c) for c in own], return_inverse=True)[1]
    one = np.zeros(len(own), dtype=np.int64)
    read = _judged(second, with_readings(rows[chosen], readings, one, subjects), own)
    # What was not read is not surer than the least that was: it stays behind. Rules do not.
    ceiling = min(j.probability for j in read)
    left = (j for at, j in enumerate(judged) if at not in chosen)
    return read + [
        j
        if j.candidate.fact.kind == "rule"
        else j._replace(probability=min(j.probability, ceiling))
        for j in left
    ]


def _judged(
    scorer: Scorer, rows: "NDArray[np.float64]", candidates: Sequence[Candidate]
) -> list[_Judged]:
    shares = scorer.trees.contributions(rows)
    log_odds = scorer.trees.baseline + shares.sum(axis=1)
    probabilities = scorer.calibration(log_odds)
    return [
        _Judged(candidate, float(p), float(odds), dict(zip(scorer.features, own, strict=True)))
        for candidate, p, odds, own in zip(
            candidates, probabilities, log_odds, shares.tolist(), strict=True
        )
    ]


def _match(judged: _Judged) -> Match:
    ranked = sorted(judged.shares.items(), key=lambda pair: -abs(pair[1]))
    return Match(
        fact=judged.candidate.fact,
        via=judged.candidate.via,
        passages=judged.candidate.passages,
        probability=judged.probability,
        evidence=Evidence(
            mention=judged.candidate.mention,
            key=judged.candidate.key,
            contributions={name: round(share, 3) for name, share in ranked if abs(share) >= 5e-4},
        ),
    )


def _reason(matches: Sequence[Match], judged: _Judged | None) -> str:
    if matches and matches[0].fact.kind == "rule":
        return f"{_grounding(matches[0])}, and a rule applies whenever it is discussed"
    if matches:
        best = matches[0]
        more = f", and {len(matches) - 1} more" if len(matches) > 1 else ""
        return (
            f"{_grounding(best)}, and the query asks what {_quoted(best.evidence.key)} asks{more}"
        )
    if judged is None:
        return "no fact of the store may answer this query"
    refused, runner_up = judged.candidate, _match(judged)
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
    first = (*match.via, match.fact)[0]
    return _quoted(first.subject or first.questions[0])


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"\u201c{line[:SHOWN]}\u2026\u201d" if len(line) > SHOWN else f"\u201c{line}\u201d"
