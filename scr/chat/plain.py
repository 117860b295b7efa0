"""Facts for a plain function that answers messages."""

from collections.abc import Callable, Sequence
from typing import Self

from scr.chat.augmentation import Knowledge, ScrMetadata, metadata_of
from scr.records import Message

Ask = Callable[[Sequence[Message]], str]
"""Answers a conversation in OpenAI's shape."""


class Answer(str):
    """An answer's text, which also says what was decided."""

    scr: ScrMetadata | None
    """As `response_metadata["scr"]` of a wrapped chat model; `None` where nothing was asked."""

    __slots__ = ("scr",)

    @classmethod
    def of(cls, text: str, told: ScrMetadata | None) -> Self:
        """Return a text that says what was decided."""
        answer = cls(text)
        answer.scr = told
        return answer


class Answerer:
    """Calls a function with the caller's messages and the facts that apply to them."""

    def __init__(self, ask: Ask, knowledge: Knowledge) -> None:
        """Let `ask` answer."""
        self._ask = ask
        self._knowledge = knowledge

    def __call__(self, messages: Sequence[Message]) -> Answer:
        """Return the answer; the function gets the same object where nothing applies."""
        composed, trace = self._knowledge.run(messages)
        return Answer.of(self._ask(composed), metadata_of(trace) if trace else None)
