"""Puts the facts that apply into the system message, within a budget of tokens.

Tokens are counted as the model does where it can say how, and else estimated from bytes.

Knows nothing of how a decision was made, nor of the model that will read the messages.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scr.composition.rendering import render_facts
from scr.facts import Fact
from scr.records import Context, Decision, Match, Message

log = logging.getLogger(__name__)

TokenCounter = Callable[[str], int]
"""Counts the tokens of a text as some model does."""

SYSTEM_ROLES = ("system", "developer")
"""Roles whose messages carry the operator's words; newer OpenAI models say `developer`."""

_BYTES_PER_TOKEN = 3


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of `text` for a model whose tokenizer is unknown.

    One token for every three UTF-8 bytes, rounded up. Byte-pair vocabularies of 32 k and more
    average four bytes a token on English prose, so this errs on the side of too many; digits,
    rare names and scripts a tokenizer hardly knows can still take more.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


class SystemMessageComposer:
    """A `Composer` that appends the facts to the first system message, or puts one in front.

    The same facts give the same bytes whatever their order, so that prompt caches hold.
    """

    def __init__(self, count_tokens: TokenCounter | None = None) -> None:
        """Count tokens, budget and `Context.tokens` alike, with `count_tokens`.

        Without one, for a model that cannot count, both are `estimate_tokens`' estimates.
        """
        self._count = count_tokens or estimate_tokens

    def __call__(
        self, messages: Sequence[Message], decision: Decision, budget: int
    ) -> tuple[Sequence[Message], Context]:
        """Return the messages to send and what was injected; see `Composer`.

        The most probable facts are kept, each with those that lead to it; one that does not fit is
        left out and the next is tried.
        `messages` is never changed, and every message but the system message is passed on as the
        same object.
        """
        if not decision.applies:
            return messages, Context(text="")
        context = self._fit(decision.matches, budget)
        if context.dropped:
            log.warning(
                "%d of %d facts that apply do not fit the budget of %d tokens; left out: %s",
                len(context.dropped),
                len(context.dropped) + len(context.fact_ids),
                budget,
                ", ".join(context.dropped),
            )
        if not context.fact_ids:
            return messages, context
        return inject(messages, context.text), context

    def _fit(self, matches: Sequence[Match], budget: int) -> Context:
        kept: dict[str, Fact] = {}
        dropped: list[str] = []
        text, tokens = "", 0
        for match in sorted(matches, key=lambda match: (-match.probability, match.fact.id)):
            together = {fact.id: fact for fact in (*match.via, match.fact)}
            if together.keys() <= kept.keys() or match.fact.id in dropped:
                continue
            candidate = _render({**kept, **together})
            count = self._count(candidate)
            if count > budget:
                dropped.append(match.fact.id)
                continue
            kept |= together
            text, tokens = candidate, count
        return Context(
            text=text, fact_ids=tuple(sorted(kept)), dropped=tuple(dropped), tokens=tokens
        )


def _render(facts: Mapping[str, Fact]) -> str:
    """Render facts in the order of their ids; a statement that two of them share is shown once."""
    return render_facts(list(dict.fromkeys(facts[fact_id].statement for fact_id in sorted(facts))))


def inject(messages: Sequence[Message], text: str) -> list[Message]:
    """Append `text` to the first system message, or put a system message of it in front.

    `messages` is not changed; all but the system message are passed on as the same objects.
    """
    for place, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") in SYSTEM_ROLES and isinstance(content, str | list | None):
            merged = {**message, "content": _append(content, text)}
            return [*messages[:place], merged, *messages[place + 1 :]]
    return [{"role": "system", "content": text}, *messages]


def _append(content: str | list[Any] | None, text: str) -> str | list[Any]:
    """Append after a blank line to a message's content: a string, or a list of parts."""
    if not content:
        return text
    if isinstance(content, str):
        return f"{content}\n\n{text}"
    return [*content, {"type": "text", "text": f"\n\n{text}"}]
