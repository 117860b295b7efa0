"""Any runnable that reads chat messages, with the facts that apply put into them."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol, TypedDict, TypeVar, runtime_checkable

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs, run_in_executor

from scr.chat.messages import as_messages, awaits_tool, restore, to_openai
from scr.composition import TokenCounter
from scr.records import Message, Trace

METADATA_KEY = "scr"
"""Where an answer's `response_metadata` says what was decided."""

Output = TypeVar("Output")
Room = Callable[[Sequence[BaseMessage]], int | None]
"""Tells how many tokens a model has room for beside messages; `None` if nothing limits them."""


@runtime_checkable
class Knowledge(Protocol):
    """What the wrapper needs of the engine; `scr.engine.SCR` is one."""

    def run(
        self,
        messages: Sequence[Message],
        *,
        count_tokens: TokenCounter | None = None,
        budget: int | None = None,
    ) -> tuple[Sequence[Message], Trace | None]:
        """Return OpenAI-shaped messages with the facts that apply, and the trace.

        Args:
            messages: roles and contents; nothing is injected if the last is not the user's.
            count_tokens: counts tokens as the model does; without it they are estimated.
            budget: most tokens that the model has room for, 0 included; `None` is no limit
                besides the knowledge's own.

        Returns:
            The very same `messages` object if nothing is injected. Otherwise one system message
            is replaced in its place or put in front, and all others are the same objects.
        """
        ...


class FactMetadata(TypedDict):
    """An injected fact in an answer's metadata."""

    id: str
    probability: float


class ScrMetadata(TypedDict):
    """What `response_metadata["scr"]` of an answer says."""

    trace: str
    """Id under which the store keeps the whole decision; `scr why --trace ID` shows it."""

    applies: bool
    """Whether any fact applied; if not, the model got the caller's own messages."""

    probability: float
    """Calibrated probability that some fact applies."""

    facts: list[FactMetadata]
    """The injected facts, most probable first."""

    dropped: list[str]
    """Ids of facts that applied but did not fit the budget."""

    injected_tokens: int
    """Tokens of the injected text, estimated from its bytes if the model has no `count_tokens`.

    The answer's own usage is the model's and includes them.
    """

    sequence: int
    """Store sequence number that was read."""


class Augmented(Runnable[LanguageModelInput, Output]):
    """Calls a runnable with the caller's messages and the facts that apply to them.

    Where nothing applies the runnable gets the caller's own input object. What it raises is
    passed on as it is. Answers are marked with what was decided; a stream on its first message.
    """

    def __init__(
        self,
        inner: Runnable[LanguageModelInput, Output],
        knowledge: Knowledge,
        count_tokens: TokenCounter | None = None,
        room: Room | None = None,
    ) -> None:
        """Augment what `inner` reads by `knowledge`.

        Args:
            inner: what answers.
            knowledge: puts the facts that apply into messages.
            count_tokens: counts tokens as the model does; without it they are estimated.
            room: limits what is injected to what the model can read.
        """
        self.inner = inner
        self._knowledge = knowledge
        self._count_tokens = count_tokens
        self._room = room

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        """Return the runnable's answer to the augmented input."""
        given, trace = self._augment(input)
        return mark(self.inner.invoke(given, _traced(config, trace), **kwargs), trace)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        """Do the same on an event loop; the decision is made in its executor."""
        given, trace = await run_in_executor(config, self._augment, input)
        return mark(await self.inner.ainvoke(given, _traced(config, trace), **kwargs), trace)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Output]:
        """Yield the runnable's chunks; the first message among them is marked."""
        given, trace = self._augment(input)
        for chunk in self.inner.stream(given, _traced(config, trace), **kwargs):
            marked = mark(chunk, trace)
            trace = None if marked is not chunk else trace
            yield marked

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        """Do the same on an event loop; the decision is made in its executor."""
        given, trace = await run_in_executor(config, self._augment, input)
        async for chunk in self.inner.astream(given, _traced(config, trace), **kwargs):
            marked = mark(chunk, trace)
            trace = None if marked is not chunk else trace
            yield marked

    def _augment(self, given: LanguageModelInput) -> tuple[LanguageModelInput, Trace | None]:
        messages = as_messages(given)
        if awaits_tool(messages):
            return given, None
        shaped = [to_openai(message) for message in messages]
        room = self._room(messages) if self._room else None
        composed, trace = self._knowledge.run(shaped, count_tokens=self._count_tokens, budget=room)
        if composed is shaped:
            return given, trace
        return restore(messages, shaped, composed), trace


def mark(answer: Output, trace: Trace | None) -> Output:
    """Return a copy of `answer` that says what was decided, or `answer` itself.

    Messages are marked, and the raw message of a structured answer that includes it. The copy
    leaves alone what the model's cache may hold.
    """
    if trace is None:
        return answer
    if isinstance(answer, BaseMessage):
        metadata = {**answer.response_metadata, METADATA_KEY: metadata_of(trace)}
        return answer.model_copy(update={"response_metadata": metadata})
    if isinstance(answer, dict) and isinstance(answer.get("raw"), BaseMessage):
        marked: Any = {**answer, "raw": mark(answer["raw"], trace)}
        return marked  # type: ignore[no-any-return]
    return answer


def metadata_of(trace: Trace) -> ScrMetadata:
    """Return what an answer's metadata says of a trace: JSON types only, and no one's words."""
    probabilities: dict[str, float] = {}
    for match in trace.matches:  # the most probable first; what leads to one counts with it
        for fact_id in (match.fact_id, *match.via):
            if fact_id in trace.injected:
                probabilities.setdefault(fact_id, match.probability)
    return ScrMetadata(
        trace=trace.id,
        applies=trace.applies,
        probability=trace.probability,
        facts=[FactMetadata(id=name, probability=p) for name, p in probabilities.items()],
        dropped=list(trace.dropped),
        injected_tokens=trace.injected_tokens,
        sequence=trace.sequence,
    )


def _traced(config: RunnableConfig | None, trace: Trace | None) -> RunnableConfig | None:
    """Name the trace in the run's metadata where facts were injected, for tracing tools."""
    if trace is None or not trace.injected:
        return config
    return merge_configs(config, {"metadata": {"scr_trace": trace.id}})
