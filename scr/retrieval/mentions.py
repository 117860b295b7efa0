"""Which subjects does a text name? Exact names by automaton, near misses by trigrams.

Knows nothing of facts or vectors: names come with the number of what they name.
"""

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import DamerauLevenshtein

from scr.retrieval.names import STOP_WORDS, Word, folded_forms, words_of

FUZZY_CHARACTERS = 1_500  # of a text that are searched for near misses, at each of its ends
FUZZY_NAMES = 24  # names that share most trigrams and are compared in full
GAP = 100  # characters between two words from which they belong to no one name
SHORTEST_FUZZY = 5  # letters of the shortest name that may be misspelled
LEAST_SHARED = 0.35  # share of a name's trigrams that must be met
LEAST_SIMILARITY = 0.6
SURE = 0.999  # similarity from which two words count as the same
_PRIOR_NAMES = (
    1_000.0  # names we imagine beside those of the store, so that idf holds in small ones
)
_STOP_WEIGHT = 0.1

Visible = Callable[[str], bool]
"""Whether a name counts for the query at hand."""


def _any_name(_name: str) -> bool:
    return True


class Naming(NamedTuple):
    """Words of a text that name a subject."""

    start: int
    end: int
    name: str
    similarity: float
    """1 for an exact match of folded names; less for a near miss or a part of the name."""

    coverage: float
    """Share of the name's words, weighted by how telling they are, that the text holds."""

    specificity: float
    """How telling the name is: the sum of its words' inverse document frequencies."""


class MentionIndex:
    """Finds names in texts. Names can be added at any time at little cost."""

    def __init__(self) -> None:
        """Start without names."""
        self._names: dict[str, int] = {}  # name -> number
        self._list: list[str] = []
        self._words: list[tuple[str, ...]] = []  # number -> folded words
        self._squeezed: list[str] = []  # number -> its words without blanks
        self._trigrams: list[int] = []  # number -> how many distinct trigrams
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._frequency: Counter[str] = Counter()
        self._forms: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._main: Any = None  # automaton over the forms that were there when it was built
        self._recent_forms: set[str] = set()
        self._recent: Any = None  # small automaton over the forms that came since

    def __len__(self) -> int:
        """Number of distinct names."""
        return len(self._list)

    def add(self, name: str) -> None:
        """Make a name findable; a name without words is ignored."""
        if name in self._names:
            return
        words = tuple(word.folded for word in words_of(name))
        if not words:
            return
        number = self._names[name] = len(self._list)
        squeezed = "".join(words)
        trigrams = _trigrams(squeezed)
        self._list.append(name)
        self._words.append(words)
        self._squeezed.append(squeezed)
        self._trigrams.append(len(trigrams))
        self._frequency.update(set(words))
        for trigram in trigrams:
            self._postings[trigram].append(number)
        for form, similarity in folded_forms(name).items():
            key = f" {' '.join(form)} "
            if key not in self._forms:
                self._recent_forms.add(key)
                self._recent = None
            self._forms[key].append((number, similarity))

    def weight(self, word: str) -> float:
        """Inverse document frequency of a folded word among the names; small for stop words.

        Counted over all names, of every scope and time, so that it needs no count per query.
        """
        if word in STOP_WORDS:
            return _STOP_WEIGHT
        total = _PRIOR_NAMES + len(self._list)
        return math.log(total / (1.0 + self._frequency[word]))

    def specificity(self, name: str) -> float:
        """How telling a known name is; 0 for one without words."""
        number = self._names.get(name)
        return 0.0 if number is None else sum(map(self.weight, self._words[number]))

    def find(self, text: str, visible: Visible = _any_name) -> list[Naming]:
        """Return every visible name the text holds, exactly or nearly, the most similar first.

        Of names that lie one within the other only the longest exact one counts. A name that is
        not visible neither hides another nor takes its place.
        """
        words = words_of(text)
        if not words or not self._list:
            return []
        found: dict[str, Naming] = {}
        exact = self._exact(words, visible)
        for naming in exact:
            if naming.name not in found or naming.similarity > found[naming.name].similarity:
                found[naming.name] = naming
        for naming in self._near(text, words, {naming.name for naming in exact}, visible):
            if not any(e.start <= naming.start and naming.end <= e.end for e in exact):
                found.setdefault(naming.name, naming)
        return sorted(
            found.values(), key=lambda n: (-n.similarity, -n.specificity, n.start, n.name)
        )

    def _automata(self) -> Iterable[Any]:
        if len(self._recent_forms) > max(256, len(self._forms) // 8) or (
            self._main is None and self._recent_forms
        ):
            self._main = _automaton(self._forms)
            self._recent_forms = set()
            self._recent = None
        if self._recent is None and self._recent_forms:
            self._recent = _automaton(self._recent_forms)
        return [automaton for automaton in (self._main, self._recent) if automaton is not None]

    def _exact(self, words: Sequence[Word], visible: Visible) -> list[Naming]:
        starts, joined = _joined(words)
        hits = {
            (bisect_right(starts, end - len(form) + 1) - 1, bisect_right(starts, end - 1) - 1, form)
            for automaton in self._automata()
            for end, form in automaton.iter(joined)
        }
        named = {  # form -> the visible names that have it, and how surely
            form: [(n, sure) for n, sure in self._forms[form] if visible(self._list[n])]
            for form in {form for _, _, form in hits}
        }
        kept: list[tuple[int, int, str]] = []
        known: set[str] = set()  # the first place of a name will do
        reach = -1
        for first, last, form in sorted(hits, key=lambda hit: (hit[0], -hit[1])):
            if named[form] and last > reach:  # not within a longer one that starts before it
                reach = last
                if form not in known:
                    known.add(form)
                    kept.append((first, last, form))
        return [
            self._naming(number, words[first].start, words[last].end, similarity, 1.0)
            for first, last, form in kept
            for number, similarity in named[form]
        ]

    def _near(
        self, text: str, words: Sequence[Word], known: set[str], visible: Visible
    ) -> list[Naming]:
        if len(text) > 2 * FUZZY_CHARACTERS:
            tail = len(text) - FUZZY_CHARACTERS
            words = [w for w in words if w.end <= FUZZY_CHARACTERS or w.start >= tail]
        squeezed = "".join(word.folded for word in words)
        namings = (
            self._compare(number, squeezed, words)
            for number in self._blocked(squeezed, visible)
            if self._list[number] not in known
        )
        return [naming for naming in namings if naming is not None]

    def _blocked(self, squeezed: str, visible: Visible) -> list[int]:
        """Return the visible names that share most of their trigrams with the text."""
        lists = [self._postings[t] for t in _trigrams(squeezed) if t in self._postings]
        if not lists:
            return []
        numbers, counts = np.unique(np.concatenate(lists), return_counts=True)
        share = counts / np.asarray(self._trigrams)[numbers]
        order = np.lexsort((numbers, -counts, -share))
        likely = (int(numbers[at]) for at in order if share[at] >= LEAST_SHARED)
        return list(islice((n for n in likely if visible(self._list[n])), FUZZY_NAMES))

    def _compare(self, number: int, squeezed: str, words: Sequence[Word]) -> Naming | None:
        name = self._squeezed[number]
        if len(name) < SHORTEST_FUZZY:
            return None
        starts, position = [], 0
        for word in words:
            starts.append(position)
            position += len(word.folded)
        window = fuzz.partial_ratio_alignment(name, squeezed, score_cutoff=50)
        if window is None:
            return None
        a, b = (window.dest_start, window.dest_end)
        if len(name) > len(squeezed):  # the whole text is the shorter one
            a, b = 0, len(squeezed)
        best = _snapped(name, squeezed, [*starts, position], a, b)
        coverage = self._coverage(number, words)
        similarity, first, last = best
        if any(b.start - a.end > GAP for a, b in pairwise(words[first : last + 1])):
            return None
        span = "".join(word.folded for word in words[first : last + 1])
        if _digits(span) != _digits(name):
            similarity = min(similarity, 0.5)  # another number is another name
        if similarity < LEAST_SIMILARITY and coverage < 0.5:
            return None
        if similarity >= SURE:
            similarity, coverage = 0.99, 1.0  # only the blanks stand elsewhere
        return self._naming(number, words[first].start, words[last].end, similarity, coverage)

    def _coverage(self, number: int, words: Sequence[Word]) -> float:
        there = {word.folded for word in words}
        met = total = 0.0
        for word in self._words[number]:
            weight = self.weight(word)
            total += weight
            met += weight * (1.0 if word in there else _nearest(word, there))
        return met / total if total else 0.0

    def _naming(
        self, number: int, start: int, end: int, similarity: float, coverage: float
    ) -> Naming:
        specificity = sum(map(self.weight, self._words[number]))
        return Naming(start, end, self._list[number], similarity, coverage, specificity)


def _automaton(forms: Iterable[str]) -> Any:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for form in forms:
        automaton.add_word(form, form)
    automaton.make_automaton()
    return automaton


def _joined(words: Sequence[Word]) -> tuple[list[int], str]:
    """Return where each word starts in the joined text, its blank included, and that text.

    Words that stand too far apart to be one name are two blanks apart, as no form is.
    """
    starts: list[int] = []
    parts: list[str] = []
    position = reach = 0
    for word in words:
        if word.start - reach > GAP and parts:
            parts.append("")
            position += 1
        starts.append(position)
        parts.append(word.folded)
        position += len(word.folded) + 1
        reach = word.end
    return starts, f" {' '.join(parts)} "


def _trigrams(squeezed: str) -> set[str]:
    return {squeezed[at : at + 3] for at in range(len(squeezed) - 2)}


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _nearest(word: str, others: Iterable[str]) -> float:
    """Return the similarity of the most similar word, or 0 where none is a likely misspelling."""
    if len(word) < 4 or any(character.isdigit() for character in word):
        return 0.0
    best = max(
        (DamerauLevenshtein.normalized_similarity(word, o, score_cutoff=0.7) for o in others),
        default=0.0,
    )
    return float(best)


def _snapped(
    name: str, squeezed: str, starts: Sequence[int], a: int, b: int
) -> tuple[float, int, int]:
    """Return the similarity, first and last word of the run of words nearest to `[a, b)`.

    `starts` says where each word starts in `squeezed`, and where the last one ends.
    """
    first = max(bisect_right(starts, a) - 1, 0)
    last = max(min(bisect_right(starts, max(b - 1, a)) - 1, len(starts) - 2), first)
    best = (-1.0, first, last)
    for i in (first - 1, first, first + 1):
        for j in (last - 1, last, last + 1):
            if 0 <= i <= j < len(starts) - 1:
                span = squeezed[starts[i] : starts[j + 1]]
                similarity = DamerauLevenshtein.normalized_similarity(name, span)
                best = max(best, (similarity, i, j), key=lambda found: found[0])
    return best
