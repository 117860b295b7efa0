"""An upstream that answers from a script and remembers what it was sent: a fake for tests.

It speaks every protocol of the server well enough for the vendors' own clients, and is a plain ASGI
application, so that in benchmarks it costs next to nothing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scr.server.protocols import parsed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Says = Callable[[Mapping[str, Any]], str]
"""Returns what is answered to a request's body."""

_JSON = [(b"content-type", b"application/json"), (b"x-upstream", b"scripted")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-upstream", b"scripted")]


class Received(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class ScriptedUpstream:
    """Answers each request by one text, streamed word by word where a stream is asked for.

    Where tools are offered and the user spoke last, it calls the first one.
    """

    def __init__(
        self,
        says: Says = lambda _body: "Hello from upstream.",
        *,
        delay: float = 0.0,
        pause: float = 0.0,
        failure: tuple[int, bytes] | None = None,
    ) -> None:
        """Answer by a script.

        Args:
            says: what is answered.
            delay: seconds before an answer begins.
            pause: seconds between the parts of a stream.
            failure: status and body of every answer, instead.
        """
        self.says = says
        self.delay = delay
        self.pause = pause
        self.failure = failure
        self.received: list[Received] = []
        self.sent: list[bytes] = []
        """Bodies of the answers, as far as they were sent."""
        self.hung_up = 0
        """Answers during which the other side hung up."""

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request (ASGI)."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = await _whole(receive)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        self.received.append(Received(scope["method"], scope["path"], query, headers, body))
        answering = asyncio.create_task(self._answer(scope["path"], parsed(body) or {}, send))
        gone = asyncio.create_task(_gone(receive))
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            self.hung_up += 1
        for task in (answering, gone):
            task.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)

    async def _answer(self, path: str, body: Mapping[str, Any], send: "Send") -> None:
        await asyncio.sleep(self.delay)
        if self.failure is not None:
            status, told = self.failure
            await self._send(send, status, _JSON, [told])
        elif body.get("stream"):
            events = [event.encode() for event in _stream(path, body, self.says(body))]
            await self._send(send, 200, _EVENTS, events)
        else:
            told = json.dumps(_whole_answer(path, body, self.says(body))).encode()
            await self._send(send, 200, _JSON, [told])

    async def _send(
        self, send: "Send", status: int, headers: Sequence[Any], parts: Sequence[bytes]
    ) -> None:
        self.sent.append(b"")
        place = len(self.sent) - 1
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(self.pause)
            await send({"type": "http.response.body", "body": part, "more_body": True})
            self.sent[place] += part
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _live(receive: "Receive", send: "Send") -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _whole(receive: "Receive") -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _calls(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = body.get("tools") or []
    messages = body.get("messages") or [{}]
    if not tools or messages[-1].get("role") != "user":
        return []
    name = tools[0].get("function", tools[0]).get("name", "tool")
    called = {"name": name, "arguments": '{"query": "Company X"}'}
    return [{"id": "call_1", "type": "function", "function": called}]


def _whole_answer(path: str, body: Mapping[str, Any], text: str) -> dict[str, Any]:
    model = body.get("model", "scripted")
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    common = {"id": "scripted-1", "created": 1, "model": model}
    counted = {"input_tokens": 7, "output_tokens": 3}
    if path == "/v1/chat/completions":
        calls = _calls(body)
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
        if calls:
            message["tool_calls"] = calls
        finish = "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
    if path == "/v1/completions":
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        return {**common, "object": "text_completion", "choices": [choice], "usage": usage}
    if path == "/v1/responses":
        return {**_response(model, text), "usage": {**counted, "total_tokens": 10}}
    if path == "/v1/messages":
        return {**_message(model), "content": [{"type": "text", "text": text}], "usage": counted}
    if path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
        return {"object": "list", "data": data, "model": model, "usage": usage}
    listed = {"id": "scripted", "object": "model", "created": 1, "owned_by": "script"}
    return {"object": "list", "data": [listed]}


def _response(model: str, text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part],
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": status,
        "output": [said], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": "end_turn", "stop_sequence": None,
    }  # fmt: skip


def _stream(path: str, body: Mapping[str, Any], text: str) -> list[str]:
    words = [word for word in text.replace(" ", " \0").split("\0") if word]
    model = str(body.get("model", "scripted"))
    if path == "/v1/responses":
        return _response_events(model, text, words)
    if path == "/v1/messages":
        return _message_events(model, words)
    chat = path == "/v1/chat/completions"
    kind = "chat.completion.chunk" if chat else "text_completion"
    common = {"id": "scripted-1", "object": kind, "created": 1, "model": model}
    calls = _calls(body) if chat else []
    if calls:
        deltas: list[dict[str, Any]] = [{"tool_calls": [{"index": 0, **calls[0]}]}]
    else:
        deltas = [{"content": word} for word in words]
    chunks = []
    for delta in deltas:
        said = {"delta": delta} if chat else {"text": delta["content"]}
        chunks.append({**common, "choices": [{"index": 0, **said, "finish_reason": None}]})
    last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    finish = "tool_calls" if calls else "stop"
    chunks.append({**common, "choices": [{"index": 0, **last, "finish_reason": finish}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        chunks.append({**common, "choices": [], "usage": usage})
    return [*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]


def _response_events(model: str, text: str, words: Sequence[str]) -> list[str]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    whole = _response(model, text)
    begun = {**_response(model, "", "in_progress"), "output": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    delta = {"type": "response.output_text.delta", **place, "logprobs": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**whole["output"][0], "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **place, "part": part},
        *({**delta, "delta": word} for word in words),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": whole["output"][0]},
        {"type": "response.completed", "response": whole},
    ]
    return [_named(at, event) for at, event in enumerate(events)]


def _message_events(model: str, words: Sequence[str]) -> list[str]:
    counted = {"input_tokens": 7, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_message(model), "usage": counted}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in words
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    return [_named(None, event) for event in events]


def _named(number: int | None, event: Mapping[str, Any]) -> str:
    numbered = event if number is None else {**event, "sequence_number": number}
    return f"event: {event['type']}\ndata: {json.dumps(numbered)}\n\n"
