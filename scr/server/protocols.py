"""What the routes' bodies look like: where the question stands, and where facts go.

Bodies are never translated from one protocol to another: each is read as far as a decision needs,
and gets one block of text where its protocol has room for instructions.

Knows nothing of HTTP, decisions or facts.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from scr.composition import append, inject
from scr.records import Message, Placement

Body = Mapping[str, Any]
Read = Callable[[Body], list[Message] | None]
"""Returns what a body says as messages in OpenAI's shape; `None` where it says nothing readable."""

Place = Callable[[Body, str, Placement], dict[str, Any]]
"""Returns a copy of a body with a text put in, as the model's instructions or the user's words."""


class Protocol(NamedTuple):
    """How one route is spoken."""

    path: str
    """As the client asks for it, and as it is asked for upstream."""

    read: Read
    place: Place
    annotated: bool
    """Whether answers get an `scr` object; elsewhere only headers tell."""

    anthropic: bool = False
    """Whether errors have Anthropic's shape; otherwise OpenAI's."""


def _read_chat(body: Body) -> list[Message] | None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        return None
    return messages


def _place_chat(body: Body, text: str, placement: Placement) -> dict[str, Any]:
    return {**body, "messages": inject(body["messages"], text, placement)}


def _read_completion(body: Body) -> list[Message] | None:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else None


def _place_completion(body: Body, text: str, _placement: Placement) -> dict[str, Any]:
    """Put the text before the prompt, which the model goes on with."""
    prompt = body["prompt"]
    told = f"{text}\n\n{prompt if isinstance(prompt, str) else prompt[0]}"
    return {**body, "prompt": told if isinstance(prompt, str) else [told]}


def _read_response(body: Body) -> list[Message] | None:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(part, Mapping) for part in given):
        return None
    return [_of_response(part) for part in given]


def _of_response(part: Mapping[str, Any]) -> Message:
    """Return what an input of the Responses API says.

    Reasoning, references, calls and their results say nothing; where one of them comes last, the
    user asks nothing.
    """
    message = part.get("type", "message") == "message"
    return part if message else {"role": "tool", "content": ""}


def _place_response(body: Body, text: str, placement: Placement) -> dict[str, Any]:
    given = body["input"]
    if placement == "system":
        instructions = body.get("instructions")
        before = instructions if isinstance(instructions, str) else None
        return {**body, "instructions": append(before, text)}
    if isinstance(given, str):
        return {**body, "input": append(given, text)}
    last = {**given[-1], "content": append(given[-1].get("content"), text, "input_text")}
    return {**body, "input": [*given[:-1], last]}


def _read_messages(body: Body) -> list[Message] | None:
    messages = _read_chat(body)
    return None if messages is None else [_of_anthropic(message) for message in messages]


def _of_anthropic(message: Message) -> Message:
    """Return a message of Anthropic's, where results of tools are parts of the user's content."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if any(isinstance(p, Mapping) and p.get("type") == "tool_result" for p in parts):
        return {"role": "tool", "content": ""}
    return message


def _place_messages(body: Body, text: str, placement: Placement) -> dict[str, Any]:
    if placement == "user":
        return {**body, "messages": inject(body["messages"], text, "user")}
    system = body.get("system")
    before = system if isinstance(system, str | list) else None
    return {**body, "system": append(before, text)}


CHAT: Final = Protocol("/v1/chat/completions", _read_chat, _place_chat, annotated=True)
COMPLETIONS: Final = Protocol(
    "/v1/completions", _read_completion, _place_completion, annotated=True
)
RESPONSES: Final = Protocol("/v1/responses", _read_response, _place_response, annotated=False)
MESSAGES: Final = Protocol(
    "/v1/messages", _read_messages, _place_messages, annotated=False, anthropic=True
)
ALL: Final = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)


def error_body(message: str, kind: str, *, anthropic: bool = False) -> dict[str, Any]:
    """Return an error as a client of the protocol expects it."""
    if anthropic:
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def parsed(body: bytes) -> Body | None:
    """Return a body's JSON object; `None` where it is none, or could not be written again."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):  # what json raises for text that is no JSON, or no UTF-8
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is beyond what a float holds")
    return number


def written(body: Body) -> bytes:
    """Return a body as bytes; a lone surrogate becomes an escape again, as it came."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def with_told(body: bytes, told: Mapping[str, Any]) -> bytes:
    """Return a JSON object with an `scr` object at its end; anything else as it is."""
    value, bare = parsed(body), body.rstrip()
    if not value or "scr" in value:
        return body
    return bare[:-1].rstrip() + b',"scr":' + written(told) + b"}" + body[len(bare) :]


class Annotator:
    """Puts one chunk with an `scr` object before the end of a stream of server-sent events.

    Everything else is passed on as it comes. Only what may be the beginning of the line that ends
    the stream waits for its rest.
    """

    _END = b"data: [DONE]"

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Put in `told`."""
        self._told = told
        self._held = b""
        self._fresh_line = True
        self._opening = b""
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """Return what to send on of these bytes and of those held before."""
        if self._done:
            return data
        if len(self._opening) < 4_096:
            self._opening += data
        data, self._held = self._held + data, b""
        at = self._end_in(data)
        if at is not None:
            self._done = True
            return data[:at] + self._chunk() + data[at:]
        line = data.rfind(b"\n") + 1
        if line or self._fresh_line:
            tail = data[line:]
            if self._END.startswith(tail):
                self._held, data = tail, data[:line]
                self._fresh_line = True
            else:
                self._fresh_line = False
        return data

    def finish(self) -> bytes:
        """Return what is still held when the stream ends."""
        held, self._held = self._held, b""
        return held

    def _end_in(self, data: bytes) -> int | None:
        if self._fresh_line and data.startswith(self._END):
            return 0
        at = data.find(b"\n" + self._END)
        return None if at < 0 else at + 1

    def _chunk(self) -> bytes:
        first = self._first()
        known = {n: first[n] for n in ("id", "object", "created", "model") if n in first}
        chunk = {**known, "choices": [], "scr": self._told}
        return b"data: " + written(chunk) + b"\n\n"

    def _first(self) -> Body:
        """Return the first chunk of the stream, whose id and model the added one bears."""
        for line in self._opening.splitlines():
            if line.startswith(b"data:"):
                return parsed(line.removeprefix(b"data:")) or {}
        return {}
