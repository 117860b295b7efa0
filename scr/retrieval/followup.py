"""Follow-up questions: what do "it", "that person" or "And the capital?" refer to?

One deterministic rule: a query that names no subject, and either points back or holds no name at
all, is read with the subjects that the most recent turn to name any of them named. A turn of the
user's that names something else ends the search, since the conversation has moved on.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scr.records import Turn
from scr.retrieval.mentions import Naming
from scr.retrieval.names import MASK, holds_name, words_of

TURNS = 6  # most recent turns that are read
TURN_CHARACTERS = 20_000  # of a turn that are read, its last ones: what was said most recently
OPENING = 2_000  # characters of a query that a subject is put into: embedders read no more
SUBJECTS = 4  # carried over at most
SURE_NAMING = 0.9  # similarity from which a naming counts as one
TELLING = 3.0  # specificity from which a name in the query itself settles what it is about

_NOUNS = (
    "person|man|woman|guy|lady|individual|player|artist|author|actor|singer|politician|company|"
    "firm|organi[sz]ation|agency|city|town|village|country|place|location|building|product|app|"
    "service|device|book|film|movie|song|album|band|group|team|club|show|series|game|station|"
    "school|university|college|language|river|mountain|ship|plane|one|policy|project"
)
_POSSESSIVE = re.compile(r"\b(its|his|their|her(?=\s+[a-z]))\b", re.IGNORECASE)
_POINTER = re.compile(
    rf"\b((?:this|that|these|those|the same)\s+(?:{_NOUNS})s?|"
    r"it|he|him|she|her|they|them|hers|theirs)\b(?!['\u2019](?:s|re)\s+(?:raining|possible))",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(r"^\s*(and|or|but|what about|how about|so)\b", re.IGNORECASE)
_LONGEST = 40  # words of a question without any name that is taken to go on with the subject


class Carried(NamedTuple):
    """A subject taken over from an earlier turn."""

    naming: Naming
    turn: int
    rewritten: str
    """The query with the subject's name put in."""

    masked: str
    """The query with the placeholder in the same place."""


def carry_over(
    text: str,
    namings: Sequence[Naming],
    history: Sequence[Turn],
    find: Callable[[str], list[Naming]],
) -> list[Carried]:
    """Return the subjects that the query takes from its history; empty if it needs none.

    Args:
        text: what the user asks now.
        namings: the subjects that it names.
        history: earlier turns, oldest first.
        find: returns the subjects that a text names, of those that the query may see.
    """
    if not history or not _points_back(text, namings):
        return []
    for turn in range(len(history) - 1, max(len(history) - 1 - TURNS, -1), -1):
        skipped = max(len(history[turn].text) - TURN_CHARACTERS, 0)
        said = history[turn].text[skipped:]
        named = [
            naming._replace(start=naming.start + skipped, end=naming.end + skipped)
            for naming in find(said)
            if naming.similarity >= SURE_NAMING
        ]
        if named:
            named.sort(key=lambda naming: (-naming.specificity, naming.start))
            return [_carried(text, naming, turn) for naming in named[:SUBJECTS]]
        if history[turn].role == "user" and holds_name(said):
            return []
    return []


def _points_back(text: str, namings: Sequence[Naming]) -> bool:
    if any(n.similarity >= SURE_NAMING and n.specificity >= TELLING for n in namings):
        return False
    if _POINTER.search(text) or _POSSESSIVE.search(text):
        return True
    if holds_name(text):
        return False
    words = words_of(text[:OPENING])
    return 0 < len(words) <= _LONGEST or bool(_ELLIPSIS.search(text))


def _carried(text: str, naming: Naming, turn: int) -> Carried:
    opening = text[:OPENING]
    rewritten, masked = (_put_in(opening, name)[:OPENING] for name in (naming.name, MASK))
    return Carried(naming, turn, rewritten, masked)


def _put_in(text: str, name: str) -> str:
    """Return the text with `name` in the place of what points back, or added at its end."""
    replaced, count = "", 0
    for at, part in enumerate(_POSSESSIVE.split(text)):
        if at % 2:  # the possessive itself
            replaced += f"{name}'s"
            count += 1
        else:
            filled, times = _POINTER.subn(lambda _match: name, part)
            replaced += filled
            count += times
    if count:
        return replaced
    body = text.rstrip()
    mark = body[-1:] if body.endswith(("?", "!", ".")) else ""
    return f"{body.removesuffix(mark)} of {name}{mark}"
