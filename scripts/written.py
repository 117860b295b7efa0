"""Facts written by hand with questions that they answer and questions that they only seem to.

They lie in `eval/reader`, one JSON object a line, and longer texts in `eval/reader/texts`; no word
in them is anyone else's.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parent.parent / "eval/reader"
TEXTS: Final = FOLDER / "texts"
HELD_OUT: Final = 0.15  # of the subjects


class Written(NamedTuple):
    """A fact with questions; `{S}` stands for the subject and `{T}` for the target."""

    subject: str
    type: str
    aliases: tuple[str, ...]
    relation: str
    target: str
    prompt: str
    statement: str
    asks: tuple[str, ...]
    """Questions that it answers."""

    others: tuple[str, ...]
    """Questions about its subject that it does not answer."""

    back: tuple[str, ...]
    """Questions about its target that it answers."""

    swapped: tuple[str, ...]
    """Questions with subject and target in each other's place, which it does not answer."""

    @property
    def is_text(self) -> bool:
        """Whether it is a text that tells many things, and so has no one relation and target."""
        return not self.relation


def load_written(folder: Path = FOLDER) -> list[Written]:
    """Return the facts of every file of the folder."""
    return [Written(**fields) for fields in _lines(folder)]


def load_texts(folder: Path = TEXTS) -> list[Written]:
    """Return the longer texts, as facts without relation and target. The reader sees none."""
    lacks: dict[str, Any] = {"relation": "", "target": "", "back": (), "swapped": ()}
    return [Written(statement=fields.pop("text"), **fields, **lacks) for fields in _lines(folder)]


def composed(facts: Sequence[Written], rng: random.Random) -> Written:
    """Return what several facts tell about one subject as a text, in any order."""
    order = rng.sample(list(facts), len(facts))

    def told(questions: Sequence[str], fact: Written) -> tuple[str, ...]:
        return tuple(text.replace("{T}", fact.target) for text in questions)

    return Written(
        subject=order[0].subject,
        type=order[0].type,
        aliases=order[0].aliases,
        relation="",
        target="",
        prompt="What is there to know about {S}?",
        statement=" ".join(text for f in order for text in told([f.statement], f)),
        asks=tuple(text for f in order for text in told(f.asks, f)),
        others=tuple(text for f in order for text in told(f.others, f)),
        back=(),
        swapped=(),
    )


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                fields: dict[str, Any] = json.loads(line)
                yield {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def held_out(subject: str) -> bool:
    """Whether the reader never sees facts about a subject: the detector is fitted on those."""
    return int.from_bytes(sha256(subject.encode()).digest()[:4]) / 2**32 < HELD_OUT


def slip(text: str, rng: random.Random, shortest: int = 5) -> str:
    """Return the text with one slip of the keyboard in one of its longer words.

    A letter is lost, doubled or swapped with the next; a text without longer words stays.
    """
    words = list(re.finditer(rf"[^\W\d_]{{{shortest},}}", text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    slips = (
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
    )
    return rng.choice(slips)
