"""Chats with any server that speaks OpenAI's chat completions."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SecretStr

from scr.errors import UpstreamError

if TYPE_CHECKING:
    import httpx2

KEY_VARIABLE = "OPENAI_API_KEY"
T = TypeVar("T")
_SHOWN = 300  # characters of a server's error message that are repeated


class OpenAICompatibleChatModel(BaseChatModel):
    """A model behind a server that speaks OpenAI's chat completions, tools and streams included.

    Small on purpose: no retries (`with_retry` adds them), and async calls run in threads. Every
    failure is an `UpstreamError` that gives the server's own reason.
    """

    base_url: str
    """Where the API starts, such as `http://localhost:8000/v1`."""

    model: str
    """The model's name there."""

    api_key: SecretStr | None = None
    """Sent as a bearer token; `None` sends none."""

    temperature: float | None = None
    """Left to the server if `None`."""

    max_tokens: int | None = None
    """Left to the server if `None`."""

    timeout: float = 120.0
    """Seconds to wait for the server's next bytes."""

    transport: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx2.BaseTransport` in place of the network, for tests."""

    _client: Any = PrivateAttr(default=None)

    @classmethod
    def connect(cls, url: str, **settings: Any) -> Self:
        """Return the model at `url`, with the key in `OPENAI_API_KEY` if there is one.

        Args:
            url: where the API starts, `/v1` if it has no path; the model's name may follow a
                `#`, else it is the first that the server lists.
            settings: fields of the model.

        Raises:
            UpstreamError: the server does not answer, or lists no model.
        """
        base, _, name = url.partition("#")
        base = base.rstrip("/")
        if base.count("/") == 2:  # scheme and host only
            base += "/v1"
        if key := os.environ.get(KEY_VARIABLE):
            settings.setdefault("api_key", key)
        chat = cls(base_url=base, model=name, **settings)
        return chat if name else chat.model_copy(update={"model": chat._first_model()})

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; `tool_choice` is `auto`, `none`, `any` (some tool) or a tool's name."""
        if tool_choice is not None:
            kwargs["tool_choice"] = _tool_choice(tool_choice)
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._answering("POST", "/chat/completions", self._body(messages, stop, kwargs)) as r:
            r.read()
            answer = self._parse(r.text, read_completion)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        body = self._body(messages, stop, kwargs)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        finished = False
        with self._answering("POST", "/chat/completions", body) as response:
            for event in _events(response.iter_lines()):
                if event == "[DONE]":
                    finished = True
                    break
                chunk = self._parse(event, read_chunk)
                finished = finished or "finish_reason" in chunk.response_metadata
                yield ChatGenerationChunk(message=chunk)
        if not finished:
            raise UpstreamError(self.model, "the stream broke off before the answer was complete")

    def _body(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stop}
        return {
            "model": self.model,
            "messages": convert_to_openai_messages(messages),
            **{name: value for name, value in own.items() if value is not None},
            **options,
        }

    def _first_model(self) -> str:
        with self._answering("GET", "/models") as response:
            response.read()
            return self._parse(response.text, lambda listing: str(listing["data"][0]["id"]))

    @contextmanager
    def _answering(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> "Iterator[httpx2.Response]":
        """Send a request and give its response, not yet read, if the server accepted it."""
        import httpx2

        try:
            content = None if body is None else json.dumps(body)  # ASCII, whatever the text
            with self._opened().stream(method, self.base_url + path, content=content) as response:
                if response.is_error:
                    response.read()
                    reason = f"HTTP {response.status_code}: {_reason(response.text)}"
                    raise UpstreamError(self.model, reason)
                yield response
        except httpx2.InvalidURL as error:
            raise UpstreamError(self.model, f"{self.base_url} is no URL ({error})") from error
        except httpx2.HTTPError as error:
            reason = f"{self.base_url} does not answer ({type(error).__name__}: {error})"
            raise UpstreamError(self.model, reason) from error

    def _opened(self) -> "httpx2.Client":
        import httpx2

        if self._client is None:
            key = self.api_key.get_secret_value() if self.api_key else ""
            headers = {"Content-Type": "application/json"}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            self._client = httpx2.Client(
                headers=headers, timeout=self.timeout, transport=self.transport
            )
        client: httpx2.Client = self._client
        return client

    def _parse(self, text: str, read: Callable[[Any], T]) -> T:
        """Read what the server sent, or say that it makes no sense."""
        try:
            parsed = json.loads(text)
            if error := parsed.get("error"):
                raise UpstreamError(self.model, _reason(json.dumps({"error": error})))
            return read(parsed)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            reason = f"the server's answer is not OpenAI's format: {text[:_SHOWN]!r}"
            raise UpstreamError(self.model, reason) from error

    @property
    def _llm_type(self) -> str:
        return "openai-compatible"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "base_url": self.base_url,
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }


def read_completion(completion: Mapping[str, Any]) -> AIMessage:
    """Return the message of a `chat.completion` object."""
    choice = completion["choices"][0]
    message = choice["message"]
    calls, invalid = [], []
    for call in message.get("tool_calls") or ():
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        try:
            calls.append(tool_call(name=name, args=json.loads(arguments or "{}"), id=call["id"]))
        except ValueError as error:
            invalid.append(
                invalid_tool_call(name=name, args=arguments, id=call["id"], error=str(error))
            )
    return AIMessage(
        content=message.get("content") or "",
        tool_calls=calls,
        invalid_tool_calls=invalid,
        response_metadata=_metadata(completion, choice),
        usage_metadata=_usage(completion),
    )


def read_chunk(chunk: Mapping[str, Any]) -> AIMessageChunk:
    """Return the piece of a message in a `chat.completion.chunk` object.

    The chunk with the usage has no choice; some servers then send `null` for the list.
    """
    choices = chunk.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return AIMessageChunk(
        content=delta.get("content") or "",
        tool_call_chunks=[
            tool_call_chunk(
                name=call.get("function", {}).get("name"),
                args=call.get("function", {}).get("arguments"),
                id=call.get("id"),
                index=call["index"],
            )
            for call in delta.get("tool_calls") or ()
        ],
        # Only with the reason: merged chunks would repeat the model's name.
        response_metadata=_metadata(chunk, choices[0]) if choices[0].get("finish_reason") else {},
        usage_metadata=_usage(chunk),
    )


def _metadata(completion: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_name": str(completion.get("model", "")),
        "finish_reason": choice.get("finish_reason"),
    }


def _usage(completion: Mapping[str, Any]) -> UsageMetadata | None:
    usage = completion.get("usage")
    if not usage:
        return None
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return UsageMetadata(
        input_tokens=read,
        output_tokens=written,
        total_tokens=usage.get("total_tokens", read + written),
    )


def _events(lines: Iterator[str]) -> Iterator[str]:
    """Yield what the server-sent events in `lines` carry; comments keep a connection alive."""
    for line in lines:
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


def _reason(text: str) -> str:
    """Return the server's message in an error body, or the start of a body of another shape."""
    try:
        error = json.loads(text)["error"]
        reason = error if isinstance(error, str) else str(error["message"])
    except (ValueError, KeyError, TypeError):
        reason = text.strip() or "no reason given"
    return reason[:_SHOWN]


def _tool_choice(choice: str) -> str | dict[str, Any]:
    if choice in ("auto", "none", "required"):
        return choice
    if choice == "any":
        return "required"
    return {"type": "function", "function": {"name": choice}}
