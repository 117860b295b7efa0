"""The selectivity benchmark: does a query fire the right fact, and none where none applies?

All facts are in one store at once. The shipped detector decides, or with folds one that was
fitted on the other folds, so that no fact is judged by a detector that saw queries about it.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from scr.detection import TreeDetector, load_detector
from scr.detection.features import NAMES, measure
from scr.detection.fitting import Samples, fit, folds_of
from scr.errors import InvalidInput
from scr.facts import NAME_LIMIT, Fact, Revision, explain, make_fact, normalize
from scr.records import Candidate, Decision, Detector, Embedder, Query, Turn
from scr.retrieval import Retriever, load_embedder
from scr.retrieval.times import time_asked

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 512  # queries whose texts are embedded together
LIMIT = 16  # facts from the key index for each query
LEARNED = 6  # candidates of a query that are learned from: the others are plainly wrong
BINS = 15  # of the calibration error
SMALLEST_CATEGORY = 50  # queries from which a category counts for the worst one
GROUNDED = 0.95  # similarity from which a query without an answer belongs to the named subject

Progress = Callable[[int, int], None]
"""Called with the number of queries done and their total."""


class Case(NamedTuple):
    """One query of the benchmark."""

    query: Query
    gold: frozenset[str]
    """Ids of the facts that answer it; empty: nothing must fire."""

    category: str
    """Source and category, joined by a slash."""


class Scores(NamedTuple):
    """Figures of one run; rates in [0, 1]."""

    balanced: float
    """Mean of `hit` and `abstain`."""

    hit: float
    """Share of answerable queries whose first fired fact is a right one."""

    abstain: float
    """Share of unanswerable queries for which nothing fired."""

    worst: float
    """Lowest rate of any category of `SMALLEST_CATEGORY` queries or more."""

    worst_category: str
    auroc: float
    """Of the probability that some fact applies."""

    ece: float
    """Expected calibration error of that probability, over equal-width bins."""

    extra: float
    """Wrong facts fired, for each answerable query."""

    categories: dict[str, float]
    """Rate of each category."""


def run_selectivity(
    facts: Path,
    queries: Path,
    out: Path,
    *,
    folds: int | None = None,
    embedder: str = "offline",
    threshold: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Decide every query and write a line of predictions for each.

    Args:
        facts: JSON lines with `id`, `prompt`, `statement`, `target`, `subject`, `aliases` and
            `validity`.
        queries: JSON lines with `query`, `gold`, `category`, `source`, `history`, and `valid_at`,
            the day of asking.
        out: written with `{"fired": [fact ids, most probable first], "p": …}` for each query.
        folds: cross-validate: each query is decided by a detector fitted on the other folds;
            `None`: the shipped detector decides them all.
        embedder: name of the embedding model.
        threshold: probability from which a fact applies; `None`: the detector's own.
        progress: called now and then while queries are read.

    Raises:
        InvalidInput: a file cannot be read as described.
        ModelUnavailable: the embedding model cannot be loaded.
    """
    known, cases = read_facts(facts), read_cases(queries)
    found = find_candidates(known, cases, load_embedder(embedder), progress=progress)
    decisions = (
        _cross_validated(cases, found, folds, threshold)
        if folds
        else [
            detector(case.query, candidates)
            for detector in (load_detector(threshold),)
            for case, candidates in zip(cases, found, strict=True)
        ]
    )
    lines = (
        {"fired": [match.fact.id for match in d.matches], "p": d.probability} for d in decisions
    )
    out.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return score(cases, decisions)


def read_facts(path: Path) -> list[Fact]:
    """Return the facts of a file. Facts without a subject are long texts."""
    facts = []
    for number, line in _lines(path):
        target = str(line.get("target", ""))
        fields: dict[str, object] = {
            "id": line.get("id"),
            "subject": line.get("subject", ""),
            "aliases": line.get("aliases", ()),
            "statement": line.get("statement", ""),
            "questions": [line["prompt"]] if line.get("prompt") else [],
            "target": target if len(target) <= NAME_LIMIT else "",
            "validity": line.get("validity") or {},
        }
        if not fields["subject"]:
            fields |= {"kind": "text", "target": ""}
        try:
            facts.append(make_fact(**fields))
        except InvalidInput as error:
            raise InvalidInput(f"{path}, line {number}: {error}") from error
    return facts


def read_cases(path: Path) -> list[Case]:
    """Return the queries of a file."""
    cases = []
    for number, line in _lines(path):
        try:
            turns = [Turn(role=t["role"], text=t["content"]) for t in line.get("history", ())]
            # The day of asking, where the line has one, is when a question that names no time is
            # about; retrieval reads `None` as now.
            asked = line.get("valid_at")
            now = datetime.fromisoformat(asked).replace(tzinfo=UTC) if asked else None
            when = time_asked(line["query"], now or datetime.now(UTC)) or now
            query = Query(text=line["query"], history=tuple(turns), valid_at=when)
            category = f"{line['source']}/{line['category']}"
            cases.append(Case(query, frozenset(line["gold"]), category))
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"{path}, line {number}: lacks {error}") from error
        except ValidationError as error:
            raise InvalidInput(f"{path}, line {number}: {explain(error)}") from error
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number}: valid_at is no date: {error}") from error
    return cases


def find_candidates(
    facts: Sequence[Fact],
    cases: Sequence[Case],
    embedder: Embedder,
    *,
    progress: Progress | None = None,
) -> list[list[Candidate]]:
    """Return the candidates of each case from a store that holds all the facts."""
    retriever = Retriever(embedder)
    retriever.follow(_revisions(facts), len(facts))
    found: list[list[Candidate]] = []
    for start in range(0, len(cases), CHUNK):
        chunk = [case.query for case in cases[start : start + CHUNK]]
        found += retriever.many(chunk, limit=LIMIT)
        if progress:
            progress(len(found), len(cases))
    return found


def sample(cases: Sequence[Case], found: Sequence[Sequence[Candidate]]) -> Samples:
    """Return the likeliest candidates as training rows, grouped by what their query is about."""
    rows, labels, queries, groups = [], [], [], []
    numbers: dict[str, int] = defaultdict(count().__next__)
    for number, (case, candidates) in enumerate(zip(cases, found, strict=True)):
        if candidates:
            rows.append(measure(case.query, candidates)[:LEARNED])
            labels += [int(c.fact.id in case.gold) for c in candidates[:LEARNED]]
            queries += [number] * len(rows[-1])
            groups += [numbers[_about(case, candidates)]] * len(rows[-1])
    return Samples(
        rows=np.concatenate(rows) if rows else np.zeros((0, len(NAMES))),
        labels=np.array(labels, dtype=np.int64),
        queries=np.array(queries, dtype=np.int64),
        groups=np.array(groups, dtype=np.int64),
        weights=np.ones(len(labels)),
    )


def score(cases: Sequence[Case], decisions: Sequence[Decision]) -> Scores:
    """Return the figures of decisions on the cases."""
    rates: dict[str, list[bool]] = defaultdict(list)
    extra = 0
    for case, decision in zip(cases, decisions, strict=True):
        fired = [match.fact.id for match in decision.matches]
        right = bool(fired) and fired[0] in case.gold if case.gold else not fired
        extra += len(set(fired) - case.gold) if case.gold else 0
        rates[case.category].append(right)
        rates["hit" if case.gold else "abstain"].append(right)
    mean = {name: sum(right) / len(right) for name, right in rates.items()}
    sides = [mean[side] for side in ("hit", "abstain") if side in mean]
    categories = {name: mean[name] for name in sorted(mean) if "/" in name}
    big = [name for name in categories if len(rates[name]) >= SMALLEST_CATEGORY] or [*categories]
    worst = min(big, key=lambda name: categories[name], default="")
    labels = np.array([bool(case.gold) for case in cases])
    probabilities = np.array([decision.probability for decision in decisions])
    return Scores(
        balanced=sum(sides) / len(sides) if sides else float("nan"),
        hit=mean.get("hit", float("nan")),
        abstain=mean.get("abstain", float("nan")),
        worst=categories.get(worst, float("nan")),
        worst_category=worst,
        auroc=_auroc(probabilities, labels),
        ece=_calibration_error(probabilities, labels),
        extra=extra / max(1, int(labels.sum())),
        categories=categories,
    )


def _cross_validated(
    cases: Sequence[Case],
    found: Sequence[Sequence[Candidate]],
    folds: int,
    threshold: float | None,
) -> list[Decision]:
    samples = sample(cases, found)
    fold_of_row = folds_of(samples.groups, folds, seed=0)
    fold_of_query = np.zeros(len(cases), dtype=np.int64)  # without candidates any fold will do
    fold_of_query[samples.queries] = fold_of_row
    detectors: list[Detector] = [
        TreeDetector(
            {**fit(samples.take(fold_of_row != fold)), "threshold": 0.5, "version": f"fold-{fold}"},
            threshold=threshold,
        )
        for fold in range(folds)
    ]
    return [
        detectors[fold](case.query, candidates)
        for fold, case, candidates in zip(fold_of_query.tolist(), cases, found, strict=True)
    ]


def _about(case: Case, candidates: Sequence[Candidate]) -> str:
    """Return what a query is about: queries about one thing must share a fold."""
    right = [c.fact for c in candidates if c.fact.id in case.gold]
    if right:
        return normalize(right[0].subject) or right[0].id
    best = candidates[0]
    if best.mention and best.mention.similarity >= GROUNDED and not case.gold:
        return normalize(best.fact.subject) or best.fact.id
    return min(case.gold) if case.gold else case.query.text


def _revisions(facts: Sequence[Fact]) -> Iterator[Revision]:
    now = datetime.now(UTC)
    for sequence, fact in enumerate(facts, 1):
        yield Revision(
            sequence=sequence,
            fact=fact,
            action="add",
            previous_status=None,
            status="approved",
            at=now,
            by="selectivity",
        )


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                parsed = json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidInput(f"{path}, line {number}: no JSON: {error}") from error
            if not isinstance(parsed, dict):
                raise InvalidInput(f"{path}, line {number}: no JSON object")
            yield number, parsed


def _auroc(scores: "NDArray[np.float64]", labels: "NDArray[np.bool_]") -> float:
    """Area under the ROC curve by mean ranks (Mann-Whitney)."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _calibration_error(scores: "NDArray[np.float64]", labels: "NDArray[np.bool_]") -> float:
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, scores - labels, minlength=BINS)
    return float(np.abs(gaps).sum() / max(1, len(scores)))
