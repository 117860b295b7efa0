"""The keys of a fact: the texts under which it is found, plain and with its subject masked."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from scr.facts import Fact
from scr.retrieval.names import mask_names, names_in, sentences_of

VERSION = 3
"""Raised whenever the keys of a fact change, so that older snapshots are rebuilt."""

PASSAGE = 400  # characters from which a passage of a long text ends at the next sentence
LONGEST = 500  # characters of a passage; a sentence that is longer is cut
PASSAGES = 32  # of one fact
QUESTIONS = 32  # of one fact
_BREAK = re.compile(r"[\s\u3001\u3002\uff01\uff0c\uff1f]")  # blanks, and stops without one
_POSSESSIVE = re.compile(r"['\u2019]s$")


class Key(NamedTuple):
    """One text under which a fact is found."""

    plain: str
    masked: str
    """The same with the subject's names replaced by a placeholder."""

    asks: bool
    """Whether it is a question of the fact; otherwise a passage of its statement."""


def names_of(fact: Fact) -> tuple[str, ...]:
    """Return the names of a fact's subject; where it has none, the names its questions hold."""
    if fact.names:
        return fact.names
    found = (name for text in fact.questions[:QUESTIONS] for name in names_in(text))
    return tuple(dict.fromkeys(_POSSESSIVE.sub("", name) for name in found))


def keys_of(fact: Fact) -> list[Key]:
    """Return the keys of a fact: its questions, then its statement in passages."""
    names = names_of(fact)
    questions = dict.fromkeys(fact.questions[:QUESTIONS])
    passages = dict.fromkeys(passages_of(fact.statement))
    texts = {**dict.fromkeys(passages, False), **dict.fromkeys(questions, True)}
    return [Key(text, mask_names(text, names), texts[text]) for text in {**questions, **passages}]


def passages_of(text: str) -> list[str]:
    """Return a text in runs of whole sentences of about `PASSAGE` characters.

    A sentence of more than `LONGEST` characters, as in a script that sets no blanks, is cut.
    """
    passages = [""]
    for sentence in _pieces(text):
        if len(passages[-1]) + len(sentence) > PASSAGE and passages[-1]:
            if len(passages) == PASSAGES:
                break
            passages.append("")
        passages[-1] = f"{passages[-1]} {sentence}".strip()
    return passages


def _pieces(text: str) -> Iterator[str]:
    """Yield the sentences of a text, those longer than `LONGEST` in parts."""
    for sentence in sentences_of(text):
        first = 0
        while len(sentence) - first > LONGEST:
            breaks = list(_BREAK.finditer(sentence, first + LONGEST // 2, first + LONGEST))
            end = breaks[-1].end() if breaks else first + LONGEST
            yield sentence[first:end].strip()
            first = end
        yield sentence[first:].strip()
