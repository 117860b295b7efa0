"""Requests passed on to the server behind, and its answers passed back as they come."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from starlette.responses import JSONResponse, Response

from scr.errors import InvalidInput
from scr.server.access import is_ours
from scr.server.protocols import Annotator, error_body, with_told
from scr.server.serving import unless_gone

if TYPE_CHECKING:
    import httpx2
    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
UPSTREAM_KEY: Final = "SCR_UPSTREAM_KEY"
"""Environment variable with the key for upstream, for requests that bring none of their own."""

ANNOTATED: Final = 16_000_000
"""Bytes of an answer up to which it gets an `scr` object; longer ones pass as they come."""

_OTHER_KEYS: Final = {b"authorization": "OPENAI_API_KEY", b"x-api-key": "ANTHROPIC_API_KEY"}
_ONE_CONNECTION: Final = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
}  # fmt: skip
"""Headers that are about one connection (RFC 9110, section 7.6.1)."""

_MADE_ANEW: Final = {b"host", b"content-length", b"expect"}
_OF_THE_BYTES: Final = {b"content-length", b"etag", b"digest", b"content-digest", b"content-md5"}


class Answering(NamedTuple):
    """What is added to an answer."""

    headers: Mapping[str, str]
    """What was decided."""

    told: Mapping[str, Any] | None = None
    """For the answer's body: the `scr` object; `None` leaves the body as it is."""

    anthropic: bool = False
    """Whether errors of our own have Anthropic's shape."""


class Upstream:
    """A server that speaks the clients' protocols."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        environment: Mapping[str, str] = os.environ,
        transport: Any = None,
    ) -> None:
        """Pass on to the server at `url`.

        Args:
            url: where the API starts, with or without `/v1`.
            timeout: seconds to wait for its next bytes.
            environment: where keys for it are looked up.
            transport: an `httpx2.AsyncBaseTransport` in place of the network, for tests.

        Raises:
            InvalidInput: the URL or a key in the environment cannot be used.
        """
        import httpx2

        try:
            self._url = httpx2.URL(url.rstrip("/").removesuffix("/v1"))
        except httpx2.InvalidURL as error:
            raise InvalidInput(f"--upstream: {url!r} is no URL ({error})") from error
        if self._url.scheme not in ("http", "https") or not self._url.host or self._url.userinfo:
            raise InvalidInput(
                f"--upstream: {url!r:.80} must be http:// or https:// with a host, and hold no "
                f"password: keys belong into {UPSTREAM_KEY}"
            )
        self.failed: Callable[[str], None] = lambda _kind: None
        """Told the kind of every failure to answer."""
        self._keys = {name: _key_from(environment, name) for name in _OTHER_KEYS}
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256),
            transport=transport,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def forward(
        self, method: str, path: str, query: bytes, headers: Headers, body: bytes, adds: Answering
    ) -> Response:
        """Return the response that asks upstream once it is sent, and passes its answer on."""
        import httpx2

        passed = self._passed(headers, anthropic=adds.anthropic)
        if adds.told is not None:  # an answer that is added to must not be compressed
            passed = [pair for pair in passed if pair[0] != b"accept-encoding"]
            passed.append((b"accept-encoding", b"identity"))
        raw = self._url.raw_path.rstrip(b"/") + path.encode() + (b"?" + query if query else b"")
        url = self._url.copy_with(raw_path=raw)
        request = httpx2.Request(method, url, headers=passed, content=body or None)
        return _Passed(self._client, request, adds, self.failed)

    def _passed(self, headers: Headers, *, anthropic: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers for upstream: the client's own, without ours, with a key."""
        left_out = _ONE_CONNECTION | _MADE_ANEW | _named_by_connection(headers)
        passed = [
            (name, value)
            for name, value in headers
            if name not in left_out
            and not name.startswith(b"x-scr-")
            and not is_ours(value.decode("latin-1"))
        ]
        place = b"x-api-key" if anthropic else b"authorization"
        if (key := self._keys[place]) and not any(name in _OTHER_KEYS for name, _ in passed):
            passed.append((place, key if anthropic else b"Bearer " + key))
        return passed


def _key_from(environment: Mapping[str, str], header: bytes) -> bytes:
    for name in (UPSTREAM_KEY, _OTHER_KEYS[header]):
        if key := environment.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise InvalidInput(f"{name} holds characters that no key has; set it anew")
            return key.encode()
    return b""


def _named_by_connection(headers: Headers) -> set[bytes]:
    named = (value.split(b",") for name, value in headers if name == b"connection")
    return {token.strip().lower() for tokens in named for token in tokens}


class _Passed(Response):
    """An answer of upstream's. A client that hangs up ends upstream's work too."""

    def __init__(
        self,
        client: "httpx2.AsyncClient",
        request: "httpx2.Request",
        adds: Answering,
        failed: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._client = client
        self._request = request
        self._adds = adds
        self._failed = failed
        self._begun = False

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Ask upstream, and send what it answers."""
        await unless_gone(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        import httpx2

        try:
            response = await self._client.send(self._request, stream=True)
            try:
                await self._pass_on(response, send)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except httpx2.HTTPError as error:
            kind = type(error).__name__
            self._failed(kind)
            if self._begun:  # all one can do is to break off as upstream did
                log.warning("upstream broke off in the middle of an answer: %s", kind)
                raise
            slow = isinstance(error, httpx2.TimeoutException)
            refusal = self._refusal(504 if slow else 502, kind)
            await refusal(scope, receive, send)

    async def _pass_on(self, response: "httpx2.Response", send: "Send") -> None:
        headers = [(name.lower(), value) for name, value in response.headers.raw]
        left_out = _ONE_CONNECTION | _named_by_connection(headers)
        if any(name == b"transfer-encoding" for name, _ in headers):
            left_out.add(b"content-length")
        parts: AsyncIterator[bytes] = response.aiter_raw()
        told = self._adds.told if response.is_success and _is_plain(response) else None
        made: list[tuple[bytes, bytes]] = []
        if told is not None and _is_stream(response):
            left_out |= _OF_THE_BYTES
            parts = _annotated(parts, Annotator(told))
        elif told is not None:
            whole, more = await _read_up_to(parts, ANNOTATED)
            if not more:
                left_out |= _OF_THE_BYTES
                whole = with_told(whole, told)
                made.append((b"content-length", str(len(whole)).encode()))
            parts = _then(whole, parts)
        kept = [
            (name, value)
            for name, value in headers
            if name not in left_out and not name.startswith(b"x-scr-")
        ]
        kept += made
        kept += [(k.encode(), v.encode()) for k, v in self._adds.headers.items()]
        self._begun = True
        start = {"type": "http.response.start", "status": response.status_code, "headers": kept}
        await send(start)
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _refusal(self, status: int, kind: str) -> Response:
        reason = "upstream took too long" if status == 504 else "upstream does not answer"
        log.warning("%s: %s", reason, kind)  # its message may quote headers, and with them keys
        message = f"{reason} ({kind}); is {self._request.url.host} up, and --upstream right?"
        body = error_body(message, "upstream_error", anthropic=self._adds.anthropic)
        return JSONResponse(body, status, headers=dict(self._adds.headers))


def _is_stream(response: "httpx2.Response") -> bool:
    return bool(response.headers.get("content-type", "").startswith("text/event-stream"))


def _is_plain(response: "httpx2.Response") -> bool:
    """Whether an answer came uncompressed, as it was asked to."""
    return response.headers.get("content-encoding", "identity") == "identity"


async def _read_up_to(parts: AsyncIterator[bytes], most: int) -> tuple[bytes, bool]:
    """Return what comes first, and whether there may be more."""
    read = bytearray()
    async for part in parts:
        read += part
        if len(read) > most:
            return bytes(read), True
    return bytes(read), False


async def _then(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in parts:
        yield part


async def _annotated(parts: AsyncIterator[bytes], annotator: Annotator) -> AsyncIterator[bytes]:
    async for part in parts:
        if ready := annotator.feed(part):
            yield ready
    if rest := annotator.finish():
        yield rest
