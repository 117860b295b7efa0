"""Words, names and sentences of a text, and where they stand in it.

Knows nothing of facts, vectors or indexes.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from anyascii import anyascii

LONGEST_CACHED = 64  # characters of a word whose folded form is kept

MASK = "it"
"""What stands in a masked text where the subject's name stood."""

_WORD_BY_WORD = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # no spaces
_UNSPACED = re.compile(f"[{_WORD_BY_WORD}]")
_WORD = re.compile(
    rf"[{_WORD_BY_WORD}]|[^\W_{_WORD_BY_WORD}]+(?:['\u2019][^\W\d_{_WORD_BY_WORD}]+)*[+#]*"
)
_POSSESSIVE = re.compile(r"['\u2019]s$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]['\")\]\u2019\u201d]*\s+(?=\S)|\n+")
_QUALIFIER = re.compile(r"\s*[(\[].*[)\]]\s*$")
_CAPITALIZED_RUN = re.compile(
    r"[\"\u201c]([^\"\u201d]{2,80})[\"\u201d]"
    r"|\b([A-Z\u00c0-\u00de\u0100-\u017f][\w'\u2019.&-]*"
    r"(?:\s+(?:(?:of|the|de|da|del|van|von|der|la|le|and|for|in|al|bin|ibn)\s+)*"
    r"[A-Z\u00c0-\u00de\u0100-\u017f0-9][\w'\u2019.&-]*)*)"
)

_STOP_WORDS = """
a an the of in on at to for from by with and or as is are was were be been being am do does
did does has have had it its he she they them his her hers him their this that these those there
what which who whom whose when where why how can could would should will shall may might
i me my we us our you your not no yes if then than so please tell about say just only know any
some
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that tell nothing about what a text is about.

Detection, which imports nothing of retrieval, has the same list; a change here belongs there too,
and then the detector has to be fitted anew.
"""


class Word(NamedTuple):
    """A word in its comparable form, and its place in the text."""

    folded: str
    start: int
    end: int


def fold(word: str) -> str:
    """Return a word in Latin letters, without case, diacritics, apostrophes, possessive ending.

    Words of scripts that are written without spaces stay in them: their romanizations tell too
    little.
    """
    # Queries are anyone's: what is kept of them must not grow with the length of their words.
    return _fold_kept(word) if len(word) <= LONGEST_CACHED else _fold(word)


def _fold(word: str) -> str:
    bare = _POSSESSIVE.sub("", word).replace("'", "").replace("\u2019", "")
    if bare.isascii():
        return bare.casefold()
    parts = unicodedata.normalize("NFKD", bare)
    plain = "".join(part for part in parts if not unicodedata.combining(part)).casefold()
    if plain.isascii() or _UNSPACED.search(plain):
        return plain
    latin = anyascii(plain).casefold()
    return "".join(filter(str.isalnum, latin)) or plain


_fold_kept = lru_cache(maxsize=65_536)(_fold)


def words_of(text: str) -> list[Word]:
    """Return the words of a text, in order."""
    return [
        Word(folded, match.start(), match.end())
        for match in _WORD.finditer(text)
        if (folded := fold(match.group()))
    ]


def folded_forms(name: str) -> dict[tuple[str, ...], float]:
    """Return the word sequences under which a name is found, with how sure each is.

    The name itself is 1; without its leading article or trailing qualifier it is a little less.
    """
    forms: dict[tuple[str, ...], float] = {}
    full = tuple(word.folded for word in words_of(name))
    plain = tuple(word.folded for word in words_of(_QUALIFIER.sub("", name)))
    for form, similarity in ((full, 1.0), (plain, 0.95)):
        if form:
            forms.setdefault(form, similarity)
        if len(form) > 2 and form[0] == "the":
            forms.setdefault(form[1:], similarity - 0.03)
    return forms


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where the sentence that holds `text[start:end]` starts and ends.

    A stop inside the span (as in "St. Louis") ends no sentence.
    """
    first, last = 0, len(text)
    for match in _SENTENCE_END.finditer(text):
        if match.end() <= start:
            first = match.end()
        elif match.start() >= end:
            last = match.end()
            break
    return first, last


def passage_around(text: str, start: int, end: int, longest: int) -> tuple[int, int]:
    """Return where the sentence that holds `text[start:end]` and those next to it start and end.

    Whole sentences are added, the one after before the one before, while the passage has at most
    `longest` characters; a sentence that is longer is cut around the span.
    """
    first, last = sentence_around(text, start, end)
    if last - first > longest:
        spare = max(longest - (end - start), 0)
        first, last = max(first, start - spare // 2), min(last, end + spare // 2)
        return first, last
    while first > 0 or last < len(text):
        after = sentence_around(text, last, last + 1)[1] if last < len(text) else last
        before = sentence_around(text, first - 1, first)[0] if first > 0 else first
        if after > last and after - first <= longest:
            last = after
        elif before < first and last - before <= longest:
            first = before
        else:
            break
    return first, last


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, without blank ones."""
    cuts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    parts = (text[first:last].strip() for first, last in pairwise(cuts))
    return [part for part in parts if part]


def mask_names(text: str, names: tuple[str, ...]) -> str:
    """Return the text with every occurrence of a name replaced by `MASK`, longest name first."""
    words = words_of(text)
    folded = tuple(word.folded for word in words)
    forms = {form for name in names for form in folded_forms(name)}
    spans: list[tuple[int, int]] = []
    taken: set[int] = set()
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        for first in [at for at, word in enumerate(folded) if word == form[0]]:
            places = range(first, first + len(form))
            if folded[first : first + len(form)] == form and taken.isdisjoint(places):
                taken.update(places)
                spans.append((words[first].start, words[places[-1]].end))
    return mask_spans(text, spans)


def mask_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the text with each span replaced by `MASK`; spans must not overlap.

    A possessive ending is kept.
    """
    for start, end in sorted(spans, reverse=True):
        ending = _POSSESSIVE.search(text[start:end])
        text = text[:start] + MASK + (ending.group() if ending else "") + text[end:]
    return text


def names_in(text: str) -> tuple[str, ...]:
    """Return the likely names in a text: quoted or capitalized runs that open no sentence.

    Used where a fact names no subject; finds nothing in texts without capitals.
    """
    return tuple(dict.fromkeys(_names_in(text)))


def holds_name(text: str) -> bool:
    """Whether `names_in` finds anything; reads no further than the first name."""
    return next(_names_in(text), None) is not None


def _names_in(text: str) -> Iterator[str]:
    openings = {0, *(match.end() for match in _SENTENCE_END.finditer(text))}
    for match in _CAPITALIZED_RUN.finditer(text):
        name = (match.group(1) or match.group(2)).strip(" .,'\u2019")
        words = [word.folded for word in words_of(name)]
        opens = match.start() in openings
        if opens and words and words[0] in STOP_WORDS:
            name = name.partition(" ")[2].strip()
            words = words[1:]
        telling = any(len(word) > 1 and word not in STOP_WORDS for word in words)
        if telling and not (opens and len(words) == 1):
            yield name
