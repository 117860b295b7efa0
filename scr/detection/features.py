"""What the detector looks at: numbers that mean the same for every source of facts.

Two questions are asked of each candidate. Is the query about its subject (grounding)? Does it ask
for its relation (compatibility)? The margins set it against the other candidates.
Knows nothing of models or thresholds.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rapidfuzz.distance import DamerauLevenshtein

from scr.facts import Fact, normalize
from scr.records import Candidate, Query

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_RIVAL = 0.5  # margin where there is no other candidate to compare with
_SURE_READING = 8.0  # log-odds of the reader beyond which it is as sure as can be
_NO_RIVAL_READ = 8.0  # margin of a reading where there is no other
_TELLING = 20.0  # specificity that counts as 1
_LONGEST_CACHED = 500  # characters of a text whose features are kept: queries are anyone's

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W\d_]+)?")
_STOP = """
a an the of in on at to for from by with and or as is are was were be been being am do does
did does has have had it its he she they them his her hers him their this that these those there
what which who whom whose when where why how can could would should will shall may might
i me my we us our you your not no yes if then than so please tell about say just only know any
some
"""
_STOP_WORDS = frozenset(_STOP.split())  # the list of `scr.retrieval.names`, not to be imported
_ASKS = (
    ("time", r"\bwhen\b|\b(?:what|which)(?:\s+\w+)?\s+(?:year|date|day|month|time|century|decade)"),
    ("number", r"\bhow (?:many|much|old|long|tall|big|large|often|far|high)\b|\bwhat number\b"),
    (
        "place",
        r"\bwhere\b|\b(?:what|which)(?:\s+\w+)?\s+(?:city|town|country|place|location|county|"
        r"state|continent|region|province|district|village|area)",
    ),
    ("person", r"\bwho\b|\bwhom\b|\bwhose\b|\b(?:what|which) (?:person|man|woman)"),
)
_ASKS_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _ASKS)
_CAPITALIZED = re.compile(r"[^\W\d_a-z][\w'\u2019-]*")


class View(NamedTuple):
    """A candidate with the sets of words that several features read."""

    query: Query
    candidate: Candidate
    asked: frozenset[str]
    """Stems of the telling words around the mention."""

    key: frozenset[str]
    """Stems of the telling words of the masked key."""

    fact: frozenset[str]
    """Stems of everything the fact says."""


class Feature(NamedTuple):
    """One number about a candidate."""

    name: str
    direction: int
    """1 where more can only speak for the fact, -1 where only against it, 0 where either."""

    read: Callable[[View], float]


def with_readings(
    rows: "NDArray[np.float64]",
    readings: "NDArray[np.float64]",
    queries: "NDArray[np.int64]",
    subjects: "NDArray[np.int64]",
) -> "NDArray[np.float64]":
    """Return the rows of candidates that were read, with what the reader says of them.

    Args:
        rows: `(n, len(NAMES))` features.
        readings: `(n,)` log-odds of the reader.
        queries: `(n,)` number of each row's query: margins are over rows of the same one.
        subjects: `(n,)` number of each row's subject.

    Returns:
        `(n, len(READ_NAMES))` numbers.
    """
    readings = np.clip(readings, -_SURE_READING, _SURE_READING)
    margins = np.full((len(rows), 2), float(_NO_RIVAL_READ))
    for query in np.unique(queries):
        own = np.flatnonzero(queries == query)
        same = subjects[own][:, None] == subjects[own][None, :]
        for column, rivals in enumerate((same, ~same)):
            margins[own, column] = _margin(readings[own], rivals, _NO_RIVAL_READ)
    return np.column_stack([rows, readings, margins])


def subject_of(candidate: Candidate) -> str:
    """Return what candidates about one subject have in common, a chain's being its first one's.

    A fact without a subject has its own.
    """
    first = (*candidate.via, candidate.fact)[0]
    return normalize(first.subject) or first.id


def measure(query: Query, candidates: Sequence[Candidate]) -> "NDArray[np.float64]":
    """Return `(n, len(FEATURES))` numbers, a row for each candidate."""
    if not candidates:
        return np.zeros((0, len(NAMES)))
    views = [_view(query, candidate) for candidate in candidates]
    alone = [[feature.read(view) for feature in _ALONE] for view in views]
    return np.column_stack([np.array(alone, dtype=np.float64), _margins(candidates)])


def discussed(query: Query, candidate: Candidate) -> float:
    """Return how surely a query is about the candidate's subject, whatever it asks, in [0, 1].

    How well the name matches and how much of it is there; a quarter of that where capitalized words
    make it part of a longer name.
    """
    mention = candidate.mention
    if mention is None:
        return 0.0
    sure = mention.similarity * candidate.coverage
    return sure / 4 if _part_of_longer_name(_view(query, candidate)) else sure


def _view(query: Query, candidate: Candidate) -> View:
    fact = candidate.fact
    told = (text for each in (*candidate.via, fact) for text in _told_by(each))
    said = " ".join(told)
    return View(
        query=query,
        candidate=candidate,
        asked=stems(candidate.masked_sentence),
        key=stems(f"{candidate.masked_key} {fact.relation}"),
        fact=stems(said),
    )


def _told_by(fact: Fact) -> tuple[str, ...]:
    return fact.relation, fact.target, fact.statement[:20_000], *fact.questions[:32]


def stems(text: str) -> frozenset[str]:
    """Return the beginnings of the telling words of a text, without case and diacritics."""
    return _stems_kept(text) if len(text) <= _LONGEST_CACHED else _stems(text)


def _stems(text: str) -> frozenset[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in folded if not unicodedata.combining(c))
    return frozenset(
        word[:5] if len(word) > 6 else word.removesuffix("s") if len(word) > 3 else word
        for word in _WORD.findall(bare)
        if word not in _STOP_WORDS
    )


_stems_kept = lru_cache(maxsize=16_384)(_stems)


def asks_for(text: str) -> str:
    """Return what kind of answer a question wants (time, number, place, person), or nothing."""
    return _asks_for_kept(text) if len(text) <= _LONGEST_CACHED else _asks_for(text)


def _asks_for(text: str) -> str:
    found = [(m.start(), name) for name, p in _ASKS_PATTERNS if (m := p.search(text))]
    return min(found)[1] if found else ""


_asks_for_kept = lru_cache(maxsize=16_384)(_asks_for)


# Grounding: is the query about the subject?


def _similarity(view: View) -> float:
    return view.candidate.mention.similarity if view.candidate.mention else 0.0


def _coverage(view: View) -> float:
    return view.candidate.coverage


def _specificity(view: View) -> float:
    return min(view.candidate.specificity / _TELLING, 1.0)


def _edits(view: View) -> float:
    """Letters that are wrong, missing, doubled or swapped in the name, up to 6."""
    mention = view.candidate.mention
    if mention is None or mention.similarity >= 1:
        return 0.0
    names = (_letters(mention.text), _letters(mention.name))
    return float(DamerauLevenshtein.distance(*names, score_cutoff=5))


def _worst_word(view: View) -> float:
    """Similarity of the word of the name that is met worst: a slip is near in every word."""
    mention = view.candidate.mention
    if mention is None or mention.similarity >= 1:
        return float(mention is not None)
    met = [_letters(word) for word in _WORD.findall(mention.text)] or [""]
    words = [_letters(word) for word in _WORD.findall(mention.name) if not _is_stop(word)]
    near = (
        max(DamerauLevenshtein.normalized_similarity(word, other) for other in met)
        for word in words
    )
    return min(near, default=1.0)


def _letters(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in folded if c.isalnum())


def _is_stop(word: str) -> bool:
    return word.casefold() in _STOP_WORDS


def _carried(view: View) -> float:
    mention = view.candidate.mention
    return float(mention is not None and mention.turn is not None)


def _named(view: View) -> float:
    return float(bool(view.candidate.fact.names))


def _part_of_longer_name(view: View) -> float:
    """Capitalized words that touch the mention: "Paris" in "Paris Hilton"."""
    mention, text = view.candidate.mention, view.query.text
    if mention is None or mention.turn is not None:
        return 0.0
    after = re.match(r"[ \t]+([^\W\d_a-z]\w+|\d+)", text[mention.end : mention.end + 60])
    before = re.search(r"([^\s]+)[ \t]+$", text[max(mention.start - 60, 0) : mention.start])
    touching = 0.0
    if after and after.group(1).casefold() not in _STOP_WORDS:
        touching += 1.0
    if before:
        word = before.group(1)
        opens = text[: mention.start].rstrip() == word or not word[-1].isalnum()
        if _CAPITALIZED.fullmatch(word) and word.casefold() not in _STOP_WORDS and not opens:
            touching += 1.0
    return touching


def _unaccounted(view: View) -> float:
    """Capitalized words and numbers of the sentence that the fact does not know."""
    candidate = view.candidate
    sentence = candidate.masked_sentence.split(maxsplit=1)
    if len(sentence) < 2:
        return 0.0
    names = frozenset().union(*(stems(name) for name in candidate.fact.names))
    known = view.fact | names
    tokens = re.findall(r"[^\W\d_a-z][\w'\u2019-]*|\d[\w.,-]*", sentence[1])
    strange = [token for token in tokens if (words := stems(token)) and not words <= known]
    return float(min(len(strange), 4))


def _target_named(view: View) -> float:
    """Share of the target's words in the query: the mark of a reversed question."""
    target = stems(view.candidate.fact.target)
    if not target:
        return 0.0
    names = frozenset().union(*(stems(name) for name in view.candidate.fact.names))
    return len((target & view.asked) - names) / len(target)


# Compatibility: does it ask for the relation?


def _cosine(view: View) -> float:
    return view.candidate.cosine


def _masked_cosine(view: View) -> float:
    return view.candidate.masked_cosine


def _sentence_cosine(view: View) -> float:
    return view.candidate.sentence_cosine


def _sentence_masked_cosine(view: View) -> float:
    return view.candidate.sentence_masked_cosine


def _relation(view: View) -> float:
    return view.candidate.relation_similarity


def _overlap(view: View) -> float:
    """Share of words in common of those around the mention and those of the key (Dice)."""
    total = len(view.asked) + len(view.key)
    return 2 * len(view.asked & view.key) / total if total else 0.0


def _asked_known(view: View) -> float:
    """Share of the words around the mention that the fact holds anywhere."""
    return len(view.asked & view.fact) / len(view.asked) if view.asked else 0.0


def _same_kind_asked(view: View) -> float:
    """1 where query and key want the same kind of answer, -1 where not, 0 where unknown."""
    asked = asks_for(view.candidate.sentence)
    key = asks_for(view.candidate.masked_key)
    if not asked or not key:
        return 0.0
    return 1.0 if asked == key else -1.0


def _target_fits(view: View) -> float:
    """Whether the target can be the kind of answer that is wanted: 1, -1, or 0 if unknown."""
    asked, target = asks_for(view.candidate.sentence), view.candidate.fact.target
    if not asked or not target:
        return 0.0
    numeric = any(character.isdigit() for character in target)
    wants_number = asked in ("time", "number")
    if wants_number:
        return 1.0 if numeric else -1.0
    return -1.0 if numeric else 0.0


def _long_text(view: View) -> float:
    return float(view.candidate.fact.kind == "text")


def _margins(candidates: Sequence[Candidate]) -> "NDArray[np.float64]":
    """Return `(n, 3)` margins over the best other candidate, `NO_RIVAL` where there is none.

    Of the relation similarity among facts of the same subject, of the plain cosine among all, and
    of the grounding among other subjects.
    """
    subjects = [subject_of(c) for c in candidates]
    masked = np.array([c.relation_similarity for c in candidates])
    plain = np.array([max(c.cosine, c.sentence_cosine) for c in candidates])
    ground = np.array([c.coverage * c.mention.similarity if c.mention else 0.0 for c in candidates])
    same = np.array([[a == b for b in subjects] for a in subjects])
    return np.column_stack(
        [_margin(masked, same), _margin(plain, np.ones_like(same)), _margin(ground, ~same)]
    )


def _margin(
    values: "NDArray[np.float64]", rivals: "NDArray[np.bool_]", most: float = NO_RIVAL
) -> "NDArray[np.float64]":
    others = rivals & ~np.eye(len(values), dtype=bool)
    best = np.where(others, values[None, :], -np.inf).max(axis=1)
    return np.where(others.any(axis=1), np.clip(values - best, -most, most), most)


_ALONE = (
    Feature("subject similarity", 1, _similarity),
    Feature("subject coverage", 1, _coverage),
    Feature("subject specificity", 0, _specificity),
    Feature("wrong letters in the name", -1, _edits),
    Feature("worst met word of the name", 1, _worst_word),
    Feature("subject carried over", 0, _carried),
    Feature("fact has a subject", 0, _named),
    Feature("part of a longer name", -1, _part_of_longer_name),
    Feature("unknown names in the sentence", -1, _unaccounted),
    Feature("target named in the query", 0, _target_named),
    Feature("cosine", 1, _cosine),
    Feature("masked cosine", 1, _masked_cosine),
    Feature("sentence cosine", 1, _sentence_cosine),
    Feature("masked sentence cosine", 1, _sentence_masked_cosine),
    Feature("relation similarity", 1, _relation),
    Feature("words in common with the key", 1, _overlap),
    Feature("asked words known to the fact", 1, _asked_known),
    Feature("same kind of answer asked", 1, _same_kind_asked),
    Feature("target fits the question", 1, _target_fits),
    Feature("long text", 0, _long_text),
)
_MARGINS = (
    ("margin over facts of the same subject", 1),
    ("margin over other facts", 1),
    ("margin of grounding", 1),
)

NAMES: tuple[str, ...] = (*(f.name for f in _ALONE), *(name for name, _ in _MARGINS))
"""Names of the features, in the order of the columns of `measure`."""

DIRECTIONS: tuple[int, ...] = (*(f.direction for f in _ALONE), *(d for _, d in _MARGINS))
"""For each feature: 1 if more can only speak for a fact, -1 only against it, 0 either."""

_READ = (
    ("reading", 1),
    ("margin of reading over facts of the same subject", 1),
    ("margin of reading over other subjects", 1),
)
READ_NAMES: tuple[str, ...] = (*NAMES, *(name for name, _ in _READ))
"""Names of the columns of `with_readings`."""

READ_DIRECTIONS: tuple[int, ...] = (*DIRECTIONS, *(d for _, d in _READ))
"""The same as `DIRECTIONS` for them."""
