"""A LangChain chat model that answers with another one and the facts that apply."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, field_validator

from scr.chat.augmentation import Augmented, Knowledge, Room
from scr.composition import TokenCounter

Schema = dict[str, Any] | type
Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


class ScrChatModel(BaseChatModel):
    """Answers with `inner`, after `knowledge` has put the facts that apply into the messages.

    The inner model is called by its public methods with the caller's own config, so its cache,
    retries, rate limiter and callbacks live, and each call is one run for tracing and usage.
    Where nothing applies it gets the caller's own input object. What governs calls is set on the
    inner model: a cache out here would keep answers that a new fact has made stale.

    The budget of facts is counted as the inner model counts tokens if it has a method
    `count_tokens(text)`, as local models have; for all others it is estimated from bytes. A method
    `room(messages)` keeps facts from filling the positions that the inner model needs to answer.

    Answers say what was decided in `response_metadata["scr"]`; see `ScrMetadata`.
    """

    inner: BaseChatModel
    """The model that answers. Bind tools, stops or retries after wrapping, not before."""

    knowledge: Knowledge = Field(repr=False)
    """Puts the facts that apply into messages: an `SCR`."""

    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Always off, the global cache included."""

    @field_validator("inner", mode="before")
    @classmethod
    def _is_unbound(cls, inner: object) -> object:
        if isinstance(inner, RunnableBinding):
            raise ValueError(
                "is already bound; wrap the chat model itself and bind the wrapper: "
                "knowledge.wrap(model).bind(…)"
            )
        return inner

    @field_validator("cache", mode="after")
    @classmethod
    def _is_off(cls, cache: object) -> bool:
        if cache:
            raise ValueError("belongs to the inner model: here it would outlive the facts")
        return False

    # The calls

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Return the inner model's answer to the augmented messages."""
        return self._augmented.invoke(input, self._configured(config), stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Return the inner model's answer to the augmented messages."""
        return await self._augmented.ainvoke(input, self._configured(config), stop=stop, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield the inner model's chunks; the first carries the metadata."""
        yield from self._chunks.stream(input, self._configured(config), stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the inner model's chunks; the first carries the metadata."""
        configured = self._configured(config)
        async for chunk in self._chunks.astream(input, configured, stop=stop, **kwargs):
            yield chunk

    # What `generate` and `stream_events(version="v3")` go through: here the run that the caller's
    # callbacks see is this model's, so that they still see usage and chunks once.

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._augmented.invoke(messages, _child(run_manager), stop=stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = await self._augmented.ainvoke(messages, _child(run_manager), stop=stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks.stream(messages, _child(run_manager), stop=stop, **kwargs):
            yield ChatGenerationChunk(message=_as_chunk(chunk))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        child = _child(run_manager)
        async for chunk in self._chunks.astream(messages, child, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=_as_chunk(chunk))

    # What is derived from it

    def bind_tools(
        self, tools: Sequence[Tool], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as the inner model does; facts still reach the bound model."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        bound = self.inner.bind_tools(tools, **kwargs)
        if isinstance(bound, RunnableBinding) and isinstance(bound.bound, BaseChatModel):
            wrapped = self.model_copy(update={"inner": bound.bound})
            return bound.model_copy(update={"bound": wrapped})
        return Augmented(bound, self.knowledge, self._counter, self._room)

    def with_structured_output(
        self, schema: Schema, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Structure answers by the inner model's own method, reading augmented messages."""
        structured = self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs)
        return Augmented(structured, self.knowledge, self._counter, self._room)

    # What is the inner model's

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of the tokens in `text` as the inner model counts them."""
        return self.inner.get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens in `text` as the inner model counts them."""
        return self.inner.get_num_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens in `messages` as the inner model counts them."""
        return self.inner.get_num_tokens_from_messages(messages, tools)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return self.inner.profile

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "scr"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"inner": {"_type": self.inner._llm_type, **self.inner._identifying_params}}

    # How it calls

    @property
    def _counter(self) -> TokenCounter | None:
        # Not `get_num_tokens`: where a model does not override it, it loads another's tokenizer.
        return getattr(self.inner, "count_tokens", None)

    @property
    def _room(self) -> Room | None:
        return getattr(self.inner, "room", None)

    @property
    def _augmented(self) -> Augmented[AIMessage]:
        return Augmented(self.inner, self.knowledge, self._counter, self._room)

    @property
    def _chunks(self) -> "Augmented[AIMessageChunk]":
        return self._augmented  # type: ignore[return-value]  # streams yield chunks

    def _configured(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """Add this model's own callbacks, tags and metadata, where it has any."""
        own = {"callbacks": self.callbacks, "tags": self.tags, "metadata": self.metadata}
        given = RunnableConfig(**{key: value for key, value in own.items() if value})  # type: ignore[typeddict-item]
        return merge_configs(given, config) if given else config


def _child(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> RunnableConfig:
    """Return the config of the inner model's run: its own callbacks only, its parent named."""
    parent = run_manager.run_id if run_manager else None
    return {"callbacks": CallbackManager(handlers=[], parent_run_id=parent)}


def _as_chunk(answer: AIMessage) -> AIMessageChunk:
    """Return what a model without streaming answers as the one chunk of a stream."""
    if isinstance(answer, AIMessageChunk):
        return answer
    return AIMessageChunk(**answer.model_dump(exclude={"type"}))
