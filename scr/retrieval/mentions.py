"""Which subjects does a text name? Exact names by their runs of words, near misses by trigrams.

Knows nothing of facts or vectors. What it keeps of a name lies in flat arrays, so that a million
names fit and are read from disk at once; their words are taken apart when they are needed.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import DamerauLevenshtein

from scr.retrieval.columns import Arrays, Column, Multimap, Texts, key_of, part, under
from scr.retrieval.names import STOP_WORDS, Word, folded_forms, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUZZY_CHARACTERS = 1_500  # of a text that are searched for near misses, at each of its ends
FUZZY_NAMES = 24  # names that share most trigrams and are compared in full
GAP = 100  # characters between two words from which they belong to no one name
SHORTEST_FUZZY = 5  # letters of the shortest name that may be misspelled
CORRECTED = range(5, 9)  # letters of words one of which may be wrong: trigrams tell longer ones
LEAST_SHARED = 0.35  # share of a name's trigrams that must be met
LEAST_SIMILARITY = 0.6
SURE = 0.999  # similarity from which two words count as the same
_PRIOR_NAMES = (
    1_000.0  # names we imagine beside those of the store, so that idf holds in small ones
)
_STOP_WEIGHT = 0.1
_RANKED: Final = 4_096  # names with the largest shares of trigrams, which are put in order
_KEPT: Final = 32_768  # names whose words are kept, those used last

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


class _Parts(NamedTuple):
    """A name taken apart."""

    name: str
    words: tuple[str, ...]
    """Folded."""

    squeezed: str
    """Its words without blanks."""

    forms: Mapping[tuple[str, ...], float]
    """The runs of words under which it is found, with how sure each is."""


def _parts_of(name: str) -> _Parts:
    words = tuple(word.folded for word in words_of(name))
    return _Parts(name, words, "".join(words), folded_forms(name))


class MentionIndex:
    """Finds names in texts. Names can be added at any time at little cost."""

    def __init__(self) -> None:
        """Start without names."""
        self._names = Texts()
        self._numbers = Multimap()  # name -> number
        self._forms = Multimap()  # run of words -> names
        self._lengths = Multimap()  # first word of a form -> how many words forms have
        self._having = Multimap()  # word -> names
        self._postings = Multimap()  # trigram -> names
        self._spellings = Multimap()  # word without one of its letters -> a name that has it
        self._trigrams = Column(np.int32)  # number -> how many distinct trigrams
        self._parts = lru_cache(maxsize=_KEPT)(self._read)

    def __len__(self) -> int:
        """Number of distinct names."""
        return len(self._names)

    def add(self, name: str) -> None:
        """Make a name findable; a name without words is ignored."""
        if self._number(name) is not None:
            return
        parts = _parts_of(name)
        if not parts.words:
            return
        number = self._names.append(name)
        self._numbers.add(key_of(name), number)
        for word in set(parts.words):
            if len(word) in CORRECTED and word.isalpha() and key_of(word) not in self._having:
                for spelling in _spellings(word):
                    self._spellings.add(key_of(spelling), number)
            self._having.add(key_of(word), number)
        trigrams = _trigrams(parts.squeezed)
        self._trigrams.append(len(trigrams))
        for trigram in trigrams:
            self._postings.add(_packed(trigram), number)
        for form in parts.forms:
            self._forms.add(key_of(" ".join(form)), number)
            first = key_of(form[0])
            if len(form) not in self._lengths.get(first):
                self._lengths.add(first, len(form))

    def _number(self, name: str) -> int | None:
        return next((int(n) for n in self._numbers.get(key_of(name))), None)

    def _read(self, number: int) -> _Parts:
        return _parts_of(self._names[number])

    def arrays(self) -> Arrays:
        """Return what `restore` takes."""
        parts = {name: getattr(self, f"_{name}").arrays() for name in _SAVED}
        arrays = {k: a for name, held in parts.items() for k, a in under(name, held).items()}
        return {**arrays, "trigrams": self._trigrams.all}

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the names of a snapshot."""
        for name in _SAVED:
            getattr(self, f"_{name}").restore(part(name, arrays))
        self._trigrams.restore(arrays["trigrams"])

    def weight(self, word: str) -> float:
        """Inverse document frequency of a folded word among the names; small for stop words.

        Counted over all names, of every scope and time, so that it needs no count per query.
        """
        if word in STOP_WORDS:
            return _STOP_WEIGHT
        total = _PRIOR_NAMES + len(self._names)
        return math.log(total / (1.0 + self._having.count(key_of(word))))

    def specificity(self, name: str) -> float:
        """How telling a known name is; 0 for one without words."""
        number = self._number(name)
        return 0.0 if number is None else sum(map(self.weight, self._parts(number).words))

    def find(self, text: str, visible: Visible = _any_name) -> list[Naming]:
        """Return every visible name the text holds, exactly or nearly, the most similar first.

        Of names that lie one within the other only the longest exact one counts. A name that is
        not visible neither hides another nor takes its place.
        """
        words = [self._singular(word, text) for word in words_of(text)]
        if not words or not len(self):
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

    def _singular(self, word: Word, text: str) -> Word:
        """Return the word without the plural ending of codes and acronyms ("T3s", "APIs")."""
        stem = text[word.start : word.end - 1]
        code = stem[-1:].isdigit() or stem.isupper()
        plural = code and len(stem) > 1 and text[word.end - 1] == "s"
        if plural and key_of(word.folded) not in self._having:
            return word._replace(folded=word.folded.removesuffix("s"))
        return word

    def _exact(self, words: Sequence[Word], visible: Visible) -> list[Naming]:
        named: dict[tuple[str, ...], list[tuple[int, float]]] = {}
        hits = list(self._runs(words))
        for _, _, form in hits:  # the visible names that have it, and how surely
            if form not in named:
                having = map(int, self._forms.get(key_of(" ".join(form))))
                seen = ((n, self._parts(n)) for n in having)
                named[form] = [
                    (n, parts.forms[form])
                    for n, parts in seen
                    if form in parts.forms and visible(parts.name)
                ]
        kept: list[tuple[int, int, tuple[str, ...]]] = []
        known: set[tuple[str, ...]] = set()  # the first place of a name will do
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

    def _runs(self, words: Sequence[Word]) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """Yield first word, last word and form of every run of words that is one."""
        lengths = {
            word: self._lengths.get(key_of(word)).tolist() for word in {w.folded for w in words}
        }
        known: dict[tuple[str, ...], bool] = {}
        reach = _reaches(words)
        for first, word in enumerate(words):
            for length in lengths[word.folded]:
                if first + length <= reach[first]:
                    form = tuple(w.folded for w in words[first : first + length])
                    if form not in known:
                        known[form] = key_of(" ".join(form)) in self._forms
                    if known[form]:
                        yield first, first + length - 1, form

    def _near(
        self, text: str, words: Sequence[Word], known: set[str], visible: Visible
    ) -> list[Naming]:
        if len(text) > 2 * FUZZY_CHARACTERS:
            tail = len(text) - FUZZY_CHARACTERS
            words = [w for w in words if w.end <= FUZZY_CHARACTERS or w.start >= tail]
        squeezed = "".join(word.folded for word in words)
        corrected = "".join(self._corrected(word.folded) for word in words)
        namings = (
            self._compare(number, squeezed, words)
            for number in self._blocked(_trigrams(squeezed) | _trigrams(corrected), visible)
            if self._parts(number).name not in known
        )
        return [naming for naming in namings if naming is not None]

    def _corrected(self, word: str) -> str:
        """Return the known word that a short unknown one is but for one letter, or two exchanged.

        Hardly any of its trigrams may be left.
        """
        near = len(word) + 1 in CORRECTED or len(word) - 1 in CORRECTED
        if not near or not word.isalpha() or word in STOP_WORDS or key_of(word) in self._having:
            return word
        having = {int(n) for s in _spellings(word) for n in self._spellings.get(key_of(s))}
        known = {other for number in having for other in self._parts(number).words}
        alike = [w for w in known if DamerauLevenshtein.distance(word, w, score_cutoff=1) <= 1]
        return min(alike, key=lambda w: (abs(len(w) - len(word)), w), default=word)

    def _blocked(self, trigrams: set[str], visible: Visible) -> list[int]:
        """Return the visible names that share most of their trigrams with the text."""
        lists = [self._postings.get(_packed(trigram)) for trigram in trigrams]
        if not any(map(len, lists)):
            return []
        counts = np.bincount(np.concatenate(lists), minlength=len(self))
        share = counts / np.maximum(self._trigrams.all, 1)
        numbers = np.flatnonzero(share >= LEAST_SHARED)
        if len(numbers) > _RANKED:
            least = np.partition(share[numbers], -_RANKED)[-_RANKED]
            numbers = numbers[share[numbers] >= least]
        order = np.lexsort((numbers, -counts[numbers], -share[numbers]))
        likely = (int(numbers[at]) for at in order)
        return list(islice((n for n in likely if visible(self._parts(n).name)), FUZZY_NAMES))

    def _compare(self, number: int, squeezed: str, words: Sequence[Word]) -> Naming | None:
        name = self._parts(number).squeezed
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
        for word in self._parts(number).words:
            weight = self.weight(word)
            total += weight
            met += weight * (1.0 if word in there else _nearest(word, there))
        return met / total if total else 0.0

    def _naming(
        self, number: int, start: int, end: int, similarity: float, coverage: float
    ) -> Naming:
        parts = self._parts(number)
        specificity = sum(map(self.weight, parts.words))
        return Naming(start, end, parts.name, similarity, coverage, specificity)


_SAVED: Final = ("names", "numbers", "forms", "lengths", "having", "postings", "spellings")


def _reaches(words: Sequence[Word]) -> list[int]:
    """Return for each word the one before which a name that begins with it has to end.

    Words that stand too far apart are no one name.
    """
    reaches = [len(words)] * len(words)
    for at in range(len(words) - 2, -1, -1):
        apart = words[at + 1].start - words[at].end > GAP
        reaches[at] = at + 1 if apart else reaches[at + 1]
    return reaches


def _packed(trigram: str) -> int:
    """Return a number that stands for three characters and no others."""
    a, b, c = map(ord, trigram)
    return (a << 42) | (b << 21) | c


def _trigrams(squeezed: str) -> set[str]:
    return {squeezed[at : at + 3] for at in range(len(squeezed) - 2)}


def _spellings(word: str) -> set[str]:
    """Return a word and what is left of it without one of its letters."""
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


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
