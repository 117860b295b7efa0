"""Ways to show statements to a chat model: the composer's own, and others that are in use.

The lab model is trained on all of them but `bulleted`, so that a comparison can ask how much a
model's obedience to context hangs on the words and marks around it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from scr.composition.rendering import render_facts

COMPOSER: Final = "composer"
HELD_OUT: Final = "bulleted"


class Shown(NamedTuple):
    """A question with statements around it, as a system message and a user message."""

    system: str | None
    user: str


Rendering = Callable[[Sequence[str], str], Shown]
"""Shows statements with a question."""


def _composer(statements: Sequence[str], question: str) -> Shown:
    return Shown(render_facts(statements), question)


def _numbered(statements: Sequence[str], question: str) -> Shown:
    lines = [f"{number}. {text}" for number, text in enumerate(statements, 1)]
    return Shown("\n".join(["Facts you should know:", *lines]), question)


def _tagged(statements: Sequence[str], question: str) -> Shown:
    facts = "\n".join(f"<fact>{text}</fact>" for text in statements)
    return Shown(f"<facts>\n{facts}\n</facts>", question)


def _json(statements: Sequence[str], question: str) -> Shown:
    return Shown(json.dumps({"facts": list(statements)}, ensure_ascii=False), question)


def _context_question(statements: Sequence[str], question: str) -> Shown:
    return Shown(None, f"Context: {' '.join(statements)}\n\nQuestion: {question}")


def _preamble(statements: Sequence[str], question: str) -> Shown:
    return Shown(None, f"Keep in mind: {' '.join(statements)} {question}")


def _bulleted(statements: Sequence[str], question: str) -> Shown:
    lines = [f"* {text}" for text in statements]
    return Shown("\n".join(["Background reading", *lines]), question)


RENDERINGS: Final[Mapping[str, Rendering]] = {
    COMPOSER: _composer,
    "numbered": _numbered,
    "tagged": _tagged,
    "json": _json,
    "context-question": _context_question,
    "preamble": _preamble,
    HELD_OUT: _bulleted,
}
"""By name. `composer` is what SCR injects; `bulleted` is never trained on."""

TRAINED_RENDERINGS: Final = tuple(name for name in RENDERINGS if name not in (COMPOSER, HELD_OUT))
"""What training uses beside the composer's."""
