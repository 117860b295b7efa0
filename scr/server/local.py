"""A chat model in this process behind OpenAI's routes."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage, convert_to_messages
from starlette.responses import JSONResponse, Response, StreamingResponse

from scr.errors import InvalidInput
from scr.facts import new_id
from scr.records import Message
from scr.server.protocols import CHAT, COMPLETIONS, Body, Protocol, written
from scr.server.serving import unless_gone
from scr.server.upstream import Answering

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from starlette.types import Receive, Scope, Send

_RANGES: Final[Mapping[str, tuple[Any, float, float]]] = {
    "temperature": (int | float, 0, 100),
    "max_tokens": (int, 1, 100_000),
    "seed": (int, 0, 2**63 - 1),
}
"""What each option may be."""

_COOLEST: Final = 0.01
_THREADS: Final = 32  # answers that are made at one time; a local model takes turns token by token
_DONE: Final = object()


class LocalModel:
    """Answers by a LangChain chat model."""

    def __init__(self, chat: "BaseChatModel", name: str) -> None:
        """Answer by `chat`, which clients know as `name`."""
        self.chat = chat
        self.name = name
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="scr-model")
        self._running: set[threading.Event] = set()

    def close(self) -> None:
        """Give up the answers that are being made, and end the threads."""
        for gone in [*self._running]:
            gone.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def room(self, messages: Sequence[Message]) -> int | None:
        """Return how many tokens of facts the model can read beside messages; `None`: any."""
        limit = getattr(self.chat, "room", None)
        return limit(_read(messages)) if limit else None

    def models(self) -> dict[str, Any]:
        """Return the list of models, which is this one."""
        listed = {"id": self.name, "object": "model", "created": 0, "owned_by": "scr"}
        return {"object": "list", "data": [listed]}

    def answer(
        self, protocol: Protocol, body: Body, messages: Sequence[Message], adds: Answering
    ) -> Response:
        """Return the answer to messages.

        Args:
            protocol: chat or completions.
            body: the request, for its options.
            messages: what is asked, facts included.
            adds: what was decided.

        Raises:
            InvalidInput: the model cannot do what is asked of it.
        """
        asked, options = _read(messages), _options(body)
        stream = self._with_tools(body).stream(asked, **options)
        form = _Form(protocol, self.name, adds)
        streamed, usage = bool(body.get("stream")), _wants_usage(body)
        return _Made(self._parts(stream), form, adds.headers, streamed, usage)

    async def say(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        """Yield the parts of the answer to messages as the model makes them."""
        async for part in self._parts(self.chat.stream(_read(messages))):
            if text := str(part.text):
                yield text

    def _with_tools(self, body: Body) -> Any:
        tools = body.get("tools")
        if not tools:
            return self.chat
        choice = body.get("tool_choice")
        given = {"tool_choice": choice} if isinstance(choice, str) else {}
        try:
            return self.chat.bind_tools(tools, **given)
        except NotImplementedError as error:
            raise InvalidInput(f"{self.name} cannot call tools: leave out `tools`") from error
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"tools: {str(error).splitlines()[0]}") from error

    async def _parts(self, stream: "Iterator[Any]") -> AsyncIterator[Any]:
        """Yield what a blocking iterator yields; it is left when nobody listens any more."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()
        gone = threading.Event()

        def put(part: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
                loop.call_soon_threadsafe(queue.put_nowait, part)

        def run() -> None:
            try:
                for part in stream:
                    if gone.is_set():
                        return
                    put(part)
                put(_DONE)
            except Exception as error:
                put(error)

        self._running.add(gone)
        self._threads.submit(run)
        try:
            while (part := await queue.get()) is not _DONE:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            gone.set()
            self._running.discard(gone)


class _Made(Response):
    """An answer that the model makes while it is sent. A client that hangs up ends the work."""

    def __init__(
        self,
        parts: AsyncIterator[Any],
        form: "_Form",
        headers: Mapping[str, str],
        streamed: bool,
        usage: bool,
    ) -> None:
        super().__init__()
        self._parts = parts
        self._form = form
        self._told = headers
        self._streamed = streamed
        self._usage = usage

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let the model answer, and send what it says."""
        await unless_gone(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        first = await anext(self._parts)  # what the model refuses is an error, not a broken stream
        if self._streamed:
            events = _events(self._form, first, self._parts, usage=self._usage)
            headers = {**self._told, "cache-control": "no-cache"}
            response: Response = StreamingResponse(
                events, media_type="text/event-stream", headers=headers
            )
        else:
            async for part in self._parts:
                first = first + part
            response = JSONResponse(self._form.whole(first), headers=dict(self._told))
        await response(scope, receive, send)


class _Form:
    """Turns what a model says into OpenAI's objects."""

    def __init__(self, protocol: Protocol, model: str, adds: Answering) -> None:
        self._chat = protocol is CHAT
        kind = "chat.completion" if self._chat else "text_completion"
        prefix = "chatcmpl" if self._chat else "cmpl"
        common = {"id": f"{prefix}-{new_id()}", "created": int(time.time()), "model": model}
        self._whole = {**common, "object": kind}
        self._chunk = {**common, "object": f"{kind}.chunk" if self._chat else kind}
        self._told = adds.told

    def whole(self, answer: "AIMessage") -> dict[str, Any]:
        told = {} if self._told is None else {"scr": self._told}
        reason = _finish(answer)
        if self._chat:
            calls = _calls(answer)
            content = str(answer.text) or (None if calls else "")
            message: dict[str, Any] = {"role": "assistant", "content": content}
            if calls:
                message["tool_calls"] = calls
            choice = {"index": 0, "message": message, "finish_reason": reason}
        else:
            choice = {"index": 0, "text": answer.text, "finish_reason": reason}
        choices = [{**choice, "logprobs": None}]
        return {**self._whole, "choices": choices, "usage": _usage(answer), **told}

    def opening(self) -> bytes:
        """Return the first event of a stream: whose turn it is."""
        return self._event({"role": "assistant", "content": ""}, None) if self._chat else b""

    def part(self, answer: "AIMessage") -> bytes:
        """Return a part of a stream as an event, or as none if it says nothing."""
        reason = _finish(answer) if answer.response_metadata.get("finish_reason") else None
        calls = _calls(answer)
        delta: dict[str, Any] = {"content": answer.text} if answer.text else {}
        if calls:
            delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
            reason = "tool_calls"
        return self._event(delta, reason) if delta or reason else b""

    def ending(self, whole: "AIMessage", *, finished: bool, usage: bool) -> bytes:
        """Return the last events of a stream."""
        events = b"" if finished else self._event({}, _finish(whole))
        if usage:
            events += _sse({**self._chunk, "choices": [], "usage": _usage(whole)})
        if self._told is not None:
            events += _sse({**self._chunk, "choices": [], "scr": self._told})
        return events + b"data: [DONE]\n\n"

    def _event(self, delta: Mapping[str, Any], reason: str | None) -> bytes:
        said: dict[str, Any] = (
            {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        )
        choice = {"index": 0, **said, "finish_reason": reason, "logprobs": None}
        return _sse({**self._chunk, "choices": [choice]})


async def _events(
    form: _Form, first: Any, parts: AsyncIterator[Any], *, usage: bool
) -> AsyncIterator[bytes]:
    yield form.opening() + form.part(first)
    whole, finished = first, bool(first.response_metadata.get("finish_reason"))
    async for part in parts:
        whole = whole + part
        finished = finished or bool(part.response_metadata.get("finish_reason"))
        if event := form.part(part):
            yield event
    yield form.ending(whole, finished=finished or bool(_calls(whole)), usage=usage)


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))


def _read(messages: Sequence[Message]) -> list[BaseMessage]:
    # A lone surrogate is no text that a tokenizer takes.
    sound = json.dumps([dict(message) for message in messages], ensure_ascii=False)
    try:
        return convert_to_messages(json.loads(sound.encode("utf-8", "replace")))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InvalidInput(f"messages: {str(error).splitlines()[0]}") from error


def _options(body: Body) -> dict[str, Any]:
    """Return what the model is told of a request's options; others that change nothing pass."""
    if body.get("n") not in (None, 1):
        raise InvalidInput("n: a local model gives one answer at a time")
    options = {name: body[name] for name in _RANGES if body.get(name) is not None}
    if (most := body.get("max_completion_tokens")) is not None:
        options["max_tokens"] = most
    for name, (kind, least, most) in _RANGES.items():
        value = options.get(name)
        if value is not None and (
            not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most
        ):
            raise InvalidInput(f"{name}: {value!r} is no number from {least} to {most}")
    if 0 < options.get("temperature", 0) < _COOLEST:
        options["temperature"] = 0  # so cold that the likeliest token is taken anyway
    stop = body.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
            raise InvalidInput("stop: give a text, or a list of texts")
        options["stop"] = stops
    return options


def _finish(answer: "AIMessage") -> str:
    if answer.tool_calls:
        return "tool_calls"
    return str(answer.response_metadata.get("finish_reason") or "stop")


def _calls(answer: "AIMessage") -> list[dict[str, Any]]:
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
        }
        for call in answer.tool_calls
    ]


def _usage(answer: "AIMessage") -> dict[str, int]:
    used = answer.usage_metadata
    read, said = (used["input_tokens"], used["output_tokens"]) if used else (0, 0)
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


def _sse(value: Mapping[str, Any]) -> bytes:
    return b"data: " + written(value) + b"\n\n"


SERVED: Final = (CHAT, COMPLETIONS)
"""Protocols that a local model speaks."""
