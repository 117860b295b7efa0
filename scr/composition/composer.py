"""Puts the facts that apply into the system message, within a budget of tokens.

Tokens are counted as the model does where it can say how, and else estimated from bytes.

Knows nothing of how a decision was made, nor of the model that will read the messages.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from scr.composition.rendering import render_facts
from scr.records import Context, Decision, Match, Message, Placement

log = logging.getLogger(__name__)

TokenCounter = Callable[[str], int]
"""Counts the tokens of a text as some model does."""

Shown = tuple[str, ...]
"""What is shown of a fact: its statement, or passages of it."""

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
    """A `Composer` that appends the facts to the system message, or to the last user message.

    The same facts give the same bytes whatever their order, so that prompt caches hold.
    """

    def __init__(
        self, count_tokens: TokenCounter | None = None, placement: Placement = "system"
    ) -> None:
        """Count tokens, budget and `Context.tokens` alike, with `count_tokens`.

        Without one, for a model that cannot count, both are `estimate_tokens`' estimates.
        """
        self._count = count_tokens or estimate_tokens
        self._placement: Placement = placement

    def __call__(
        self, messages: Sequence[Message], decision: Decision, budget: int
    ) -> tuple[Sequence[Message], Context]:
        """Return the messages to send and what was injected; see `Composer`.

        The most probable facts are kept, each with those that lead to it. Of a long statement that
        does not fit, passages are shown: the nearest to the query, as many as fit, in the order of
        the text. A fact of which nothing fits is left out, and the next is tried.
        `messages` is never changed, and every message but the one that is added to is passed on as
        the same object.
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
        if context.shortened:
            log.info("shown in part, by the passages nearest to the query: %s", context.shortened)
        if not context.fact_ids:
            return messages, context
        return inject(messages, context.text, self._placement), context

    def _fit(self, matches: Sequence[Match], budget: int) -> Context:
        kept: dict[str, Shown] = {}
        dropped: list[str] = []
        text, tokens = "", 0
        for match in sorted(matches, key=lambda match: (-match.probability, match.fact.id)):
            together = {fact.id: (fact.statement,) for fact in (*match.via, match.fact)}
            if together.keys() <= kept.keys() or match.fact.id in dropped:
                continue
            for more in self._choices(match, together):
                rendered = _render({**kept, **more})
                count = self._count(rendered)
                if count <= budget:
                    kept |= more
                    text, tokens = rendered, count
                    break
            else:
                dropped.append(match.fact.id)
        whole = {fact.id: (fact.statement,) for m in matches for fact in (*m.via, m.fact)}
        return Context(
            text=text,
            fact_ids=tuple(sorted(kept)),
            dropped=tuple(dropped),
            shortened=tuple(sorted(i for i, shown in kept.items() if shown != whole[i])),
            tokens=tokens,
        )

    @staticmethod
    def _choices(match: Match, together: Mapping[str, Shown]) -> Iterator[Mapping[str, Shown]]:
        """Yield what may be shown of a match, the most first."""
        yield together
        for count in range(len(match.passages) - 1, 0, -1):
            chosen = sorted(match.passages[:count], key=lambda passage: passage.place)
            yield {**together, match.fact.id: tuple(passage.text for passage in chosen)}


def _render(shown: Mapping[str, Shown]) -> str:
    """Render facts in the order of their ids; a statement that two of them share is shown once."""
    texts = (text for fact_id in sorted(shown) for text in shown[fact_id])
    return render_facts(list(dict.fromkeys(texts)))


def inject(
    messages: Sequence[Message], text: str, placement: Placement = "system"
) -> list[Message]:
    """Append `text` to the first system message (made if there is none), or to the last message.

    `messages` is not changed; all but the one that is added to are passed on as the same objects.
    """
    if placement == "user":
        return [*messages[:-1], _added(messages[-1], text)]
    for place, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") in SYSTEM_ROLES and isinstance(content, str | list | None):
            return [*messages[:place], _added(message, text), *messages[place + 1 :]]
    return [{"role": "system", "content": text}, *messages]


def _added(message: Message, text: str) -> Message:
    return {**message, "content": append(message.get("content"), text)}


def append(content: str | list[Any] | None, text: str, kind: str = "text") -> str | list[Any]:
    """Append after a blank line to a message's content: a string, or a list of parts.

    `kind` is the type of a part that holds text.
    """
    if not content:
        return text
    if isinstance(content, str):
        return f"{content}\n\n{text}"
    return [*content, {"type": kind, "text": f"\n\n{text}"}]
