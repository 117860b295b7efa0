"""A chat model in this process behind OpenAI's routes."""

import asyncio
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
from scr.server.upstream import Answering

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

_OPTIONS: Final = ("temperature", "max_tokens", "seed")
_THREADS: Final = 32  # answers that are made at one time; a local model takes turns token by token
_DONE: Final = object()


class LocalModel:
    """Answers by a LangChain chat model."""

    def __init__(self, chat: "BaseChatModel", name: str) -> None:
        """Answer by `chat`, which clients know as `name`."""
        self.chat = chat
        self.name = name
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="scr-model")

    def close(self) -> None:
        """End the threads; answers that nobody waits for are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def room(self, messages: Sequence[Message]) -> int | None:
        """Return how many tokens of facts the model can read beside messages; `None`: any."""
        limit = getattr(self.chat, "room", None)
        return limit(_read(messages)) if limit else None

    def models(self) -> dict[str, Any]:
        """Return the list of models, which is this one."""
        listed = {"id": self.name, "object": "model", "created": 0, "owned_by": "scr"}
        return {"object": "list", "data": [listed]}

    async def answer(
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
        chat = self._with_tools(body)
        form = _Form(protocol, self.name, adds)
        loop = asyncio.get_running_loop()
        if not body.get("stream"):
            made = await loop.run_in_executor(self._threads, lambda: chat.invoke(asked, **options))
            return JSONResponse(form.whole(made), headers=dict(adds.headers))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        parts = self._parts(chat.stream(asked, **options))
        first = await anext(parts)  # what the model refuses is an error still, not a broken stream
        events = _events(form, first, parts, usage=usage)
        headers = {**adds.headers, "cache-control": "no-cache"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

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

    async def _parts(self, stream: "Iterator[Any]") -> AsyncIterator[Any]:
        """Yield what a blocking iterator yields; it is closed when nobody listens any more."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()
        gone = threading.Event()

        def run() -> None:
            def put(part: Any) -> None:
                loop.call_soon_threadsafe(queue.put_nowait, part)

            try:
                for part in stream:
                    if gone.is_set():
                        return
                    put(part)
                put(_DONE)
            except Exception as error:
                put(error)

        running = loop.run_in_executor(self._threads, run)
        try:
            while (part := await queue.get()) is not _DONE:
                if isinstance(part, Exception):
                    raise part
                yield part
            await running
        finally:
            gone.set()


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


def _read(messages: Sequence[Message]) -> list[BaseMessage]:
    try:
        return convert_to_messages([dict(message) for message in messages])
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InvalidInput(f"messages: {str(error).splitlines()[0]}") from error


def _options(body: Body) -> dict[str, Any]:
    """Return what the model is told of a request's options; others that change nothing pass."""
    if body.get("n") not in (None, 1):
        raise InvalidInput("n: a local model gives one answer at a time")
    options = {name: body[name] for name in _OPTIONS if body.get(name) is not None}
    if (most := body.get("max_completion_tokens")) is not None:
        options["max_tokens"] = most
    for name, kind, least in (("temperature", int | float, 0), ("max_tokens", int, 1)):
        value = options.get(name)
        if value is not None and (
            not isinstance(value, kind) or isinstance(value, bool) or value < least
        ):
            raise InvalidInput(f"{name}: {value!r} is no number from {least} on")
    if "seed" in options and not isinstance(options["seed"], int):
        raise InvalidInput(f"seed: {options['seed']!r} is no whole number")
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
