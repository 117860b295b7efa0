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

from scr.detection import Recalibration, TreeDetector, load_detector
from scr.detection.features import NAMES, measure, subject_of
from scr.detection.fitting import Samples, fit, folds_of
from scr.detection.reader import Reader, load_reader
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
CALIBRATION_FOLDS = 5
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


class Run(NamedTuple):
    """Figures of one run."""

    scores: Scores
    corrected: Scores | None
    """With the labels that the errata correct; `None` without errata."""


def run_selectivity(
    facts: Path,
    queries: Path,
    out: Path,
    *,
    folds: int | None = None,
    embedder: str = "offline",
    threshold: float | None = None,
    reader: bool = True,
    errata: Path | None = None,
    progress: Progress | None = None,
) -> Run:
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
        reader: whether what the features leave possible is read by the cross-encoder.
        errata: JSON lines that correct labels of the queries: `line` (the first is 1), either
            `gold` or `"drop": true`, and the `reason`.
        progress: called now and then while queries are read.

    Raises:
        InvalidInput: a file cannot be read as described.
        ModelUnavailable: the embedding model cannot be loaded.
    """
    known, cases = read_facts(facts), read_cases(queries)
    mended = read_errata(errata, len(cases)) if errata else {}
    found = find_candidates(known, cases, load_embedder(embedder), progress=progress)
    decisions = (
        cross_validated(
            cases,
            found,
            folds,
            RememberingReader(load_reader()),
            threshold,
            use_reader=reader,
        )
        if folds
        else [
            detector(case.query, candidates)
            for detector in (load_detector(threshold, reader=reader),)
            for case, candidates in zip(cases, found, strict=True)
        ]
    )
    lines = (
        {"fired": [match.fact.id for match in d.matches], "p": d.probability} for d in decisions
    )
    out.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return Run(score(cases, decisions), _corrected(cases, decisions, mended) if errata else None)


class Calibrated(NamedTuple):
    """What a calibration found, cross-validated over the queries."""

    recalibration: Recalibration
    before: Scores
    """With the shipped probabilities."""

    after: Scores
    """With probabilities fitted on the other folds' queries."""


def calibrate(
    facts: Path,
    queries: Path,
    *,
    embedder: str = "offline",
    reader: bool = True,
    progress: Progress | None = None,
) -> Calibrated:
    """Fit the detector's probabilities to a team's own facts and queries.

    Args:
        facts: as for `run_selectivity`.
        queries: likewise; some that a fact answers, and some that none does.
        embedder: name of the embedding model.
        reader: whether the detector reads.
        progress: called now and then while queries are read.

    Raises:
        InvalidInput: a file cannot be read, or there are too few queries of a kind.
        ModelUnavailable: the embedding model cannot be loaded.
    """
    known, cases = read_facts(facts), read_cases(queries)
    model = load_embedder(embedder)
    found = find_candidates(known, cases, model, progress=progress)
    shipped = load_detector(reader=reader)
    before = [shipped(case.query, c) for case, c in zip(cases, found, strict=True)]
    probabilities = [decision.probability for decision in before]
    answered = [bool(case.gold) for case in cases]
    used = {"embedder": model.fingerprint, "detector": before[0].detector if before else ""}
    fitted = Recalibration.fit(probabilities, answered, **used)
    fold = np.arange(len(cases)) % CALIBRATION_FOLDS
    after: dict[int, Decision] = {}
    for held in range(CALIBRATION_FOLDS):
        kept = [at for at in range(len(cases)) if fold[at] != held]
        others = Recalibration.fit(
            [probabilities[at] for at in kept], [answered[at] for at in kept], **used
        )
        detector = load_detector(reader=reader, recalibration=others)
        for at in np.flatnonzero(fold == held).tolist():
            after[at] = detector(cases[at].query, found[at])
    return Calibrated(
        fitted, score(cases, before), score(cases, [after[at] for at in range(len(cases))])
    )


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


def read_errata(path: Path, queries: int) -> dict[int, frozenset[str] | None]:
    """Return by the number of a query, from 0, its right gold, or `None` where it is left out."""
    mended: dict[int, frozenset[str] | None] = {}
    for number, line in _lines(path):
        place, reason = line.get("line"), line.get("reason")
        if not isinstance(place, int) or not 1 <= place <= queries or not reason:
            raise InvalidInput(f"{path}, line {number}: needs a `line` of the queries and a reason")
        if ("gold" in line) == bool(line.get("drop")) or place - 1 in mended:
            raise InvalidInput(f"{path}, line {number}: give either `gold` or `drop`, once a query")
        mended[place - 1] = None if line.get("drop") else frozenset(line["gold"])
    return mended


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
    subjects: list[int] = []
    pairs: list[tuple[str, str]] = []
    numbers: dict[str, int] = defaultdict(count().__next__)
    named: dict[str, int] = defaultdict(count().__next__)
    for number, (case, candidates) in enumerate(zip(cases, found, strict=True)):
        if candidates:
            learned = candidates[:LEARNED]
            rows.append(measure(case.query, candidates)[:LEARNED])
            labels += [int(c.fact.id in case.gold) for c in learned]
            queries += [number] * len(learned)
            groups += [numbers[_about(case, candidates)]] * len(learned)
            subjects += [named[subject_of(c)] for c in learned]
            pairs += [(c.masked_passage, c.masked_fact) for c in learned]
    return Samples(
        rows=np.concatenate(rows) if rows else np.zeros((0, len(NAMES))),
        labels=np.array(labels, dtype=np.int64),
        queries=np.array(queries, dtype=np.int64),
        groups=np.array(groups, dtype=np.int64),
        weights=np.ones(len(labels)),
        subjects=np.array(subjects, dtype=np.int64),
        pairs=np.array(pairs, dtype=object).reshape(-1, 2),
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
        auroc=auroc(probabilities, labels),
        ece=_calibration_error(probabilities, labels),
        extra=extra / max(1, int(labels.sum())),
        categories=categories,
    )


def _corrected(
    cases: Sequence[Case],
    decisions: Sequence[Decision],
    mended: Mapping[int, frozenset[str] | None],
) -> Scores:
    kept: list[tuple[Case, Decision]] = []
    for number, (case, decision) in enumerate(zip(cases, decisions, strict=True)):
        gold = mended.get(number, case.gold)
        if gold is not None:
            kept.append((case._replace(gold=gold), decision))
    return score([case for case, _ in kept], [decision for _, decision in kept])


def cross_validated(
    cases: Sequence[Case],
    found: Sequence[Sequence[Candidate]],
    folds: int,
    reader: Reader,
    threshold: float | None = None,
    *,
    use_reader: bool = True,
    weights: "NDArray[np.float64] | None" = None,
    beside: Samples | None = None,
) -> list[Decision]:
    """Return the decision on each query by a detector fitted on the other folds.

    Args:
        cases: the queries.
        found: the candidates of each.
        folds: number of folds, by fact.
        reader: reads; it is asked for the same pairs in several folds.
        threshold: probability from which a fact applies; `None`: one half.
        use_reader: whether the detectors read.
        weights: `(len(cases),)` how much is learned from each query; `None`: equally from all.
        beside: rows of other queries that every fold is fitted on too.
    """
    samples = sample(cases, found)
    if weights is not None:
        samples = samples._replace(weights=weights[samples.queries])
    fold_of_row = folds_of(samples.groups, folds, seed=0)
    fold_of_query = np.zeros(len(cases), dtype=np.int64)  # without candidates any fold will do
    fold_of_query[samples.queries] = fold_of_row
    detectors: list[Detector] = []
    for fold in range(folds):
        learned = samples.take(fold_of_row != fold)
        fitted = fit(joined([learned, beside]) if beside else learned, reader)
        written = {**fitted, "threshold": 0.5, "version": f"fold-{fold}"}
        reads = reader if use_reader else None
        detectors.append(TreeDetector(written, reader=reads, threshold=threshold))
    return [
        detectors[fold](case.query, candidates)
        for fold, case, candidates in zip(fold_of_query.tolist(), cases, found, strict=True)
    ]


class RememberingReader:
    """A reader that reads each pair once."""

    def __init__(self, reader: Reader) -> None:
        """Remember what `reader` returns."""
        self._reader = reader
        self._known: dict[tuple[str, str], float] = {}

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> "NDArray[np.float64]":
        """Return `(n,)` log-odds."""
        fresh = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        self._known.update(zip(fresh, self._reader(fresh).tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs])


def joined(parts: Sequence[Samples]) -> Samples:
    """Return samples as one; queries, groups and subjects of different parts are kept apart."""
    moved: list[Samples] = []
    for part in parts:
        columns = part._asdict()
        for name in ("queries", "groups", "subjects"):
            columns[name] = columns[name] + (
                max(int(getattr(other, name).max(initial=-1)) for other in moved) + 1
                if moved
                else 0
            )
        moved.append(Samples(**columns))
    return Samples._make(np.concatenate(columns) for columns in zip(*moved, strict=True))


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


def auroc(scores: "NDArray[np.float64]", labels: "NDArray[np.bool_]") -> float:
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
