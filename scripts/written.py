"""Facts written by hand with questions that they answer and questions that they only seem to.

They lie in `eval/reader`, one JSON object a line; no text in them is anyone else's.
"""

import json
import random
import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parent.parent / "eval/reader"
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


def load_written(folder: Path = FOLDER) -> list[Written]:
    """Return the facts of every file of the folder."""
    facts = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                fields: dict[str, Any] = json.loads(line)
                lists = {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
                facts.append(Written(**{**fields, **lists}))
    return facts


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
