"""Requests passed on to the server behind, and its answers passed back as they come."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from starlette.responses import JSONResponse, Response

from scr.server.access import is_ours
from scr.server.protocols import Annotator, error_body, parsed, written

if TYPE_CHECKING:
    import httpx2
    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, str]]
UPSTREAM_KEY: Final = "SCR_UPSTREAM_KEY"
"""Environment variable with the key for upstream, for requests that bring none of their own."""

_OTHER_KEYS: Final = {"authorization": "OPENAI_API_KEY", "x-api-key": "ANTHROPIC_API_KEY"}
_NOT_PASSED: Final = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect",
}  # fmt: skip
"""Headers that are about one connection (RFC 9110, section 7.6.1), or that are made anew."""


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
        """
        import httpx2

        self.url = url.rstrip("/").removesuffix("/v1")
        self.failed: Callable[[str], None] = lambda _kind: None
        """Told the kind of every failure to answer."""
        self._environment = environment
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256),
            transport=transport,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def forward(
        self, method: str, path: str, query: str, headers: Headers, body: bytes, adds: Answering
    ) -> Response:
        """Return the response that asks upstream once it is sent, and passes its answer on."""
        import httpx2

        passed = self._passed(headers, anthropic=adds.anthropic)
        if adds.told is not None:  # an answer that is added to must not be compressed
            passed = [pair for pair in passed if pair[0] != "accept-encoding"]
            passed.append(("accept-encoding", "identity"))
        url = f"{self.url}{path}{'?' + query if query else ''}"
        request = httpx2.Request(method, url, headers=passed, content=body or None)
        return _Passed(self._client, request, adds, self.failed)

    def _passed(self, headers: Headers, *, anthropic: bool) -> list[tuple[str, str]]:
        """Return the headers for upstream: the client's own, without ours, with a key."""
        named = {name.strip() for k, v in headers if k == "connection" for name in v.split(",")}
        passed = [
            (name, value)
            for name, value in headers
            if name not in _NOT_PASSED
            and name not in named
            and not name.startswith("x-scr-")
            and not is_ours(name, value)
        ]
        if not any(name in _OTHER_KEYS for name, _ in passed):
            place = "x-api-key" if anthropic else "authorization"
            own = self._environment.get(UPSTREAM_KEY) or self._environment.get(_OTHER_KEYS[place])
            if own:
                passed.append((place, own if anthropic else f"Bearer {own}"))
        return passed


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

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Ask upstream, and send what it answers."""
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            await self._answer(scope, receive, send)
            group.cancel_scope.cancel()

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        import httpx2

        try:
            response = await self._client.send(self._request, stream=True)
        except httpx2.TimeoutException as error:
            await self._refuse(504, "upstream took too long", error)(scope, receive, send)
            return
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            await self._refuse(502, "upstream does not answer", error)(scope, receive, send)
            return
        try:
            await self._pass_on(response, send)
        except httpx2.HTTPError:
            # The answer has begun, so that all one can do is to break it off as upstream did.
            self._failed("broke off")
            log.warning("upstream broke off in the middle of an answer", exc_info=True)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _pass_on(self, response: "httpx2.Response", send: "Send") -> None:
        headers = [(k.lower(), v) for k, v in response.headers.raw]
        kept = [(k, v) for k, v in headers if k.decode() not in _NOT_PASSED - {"content-length"}]
        told = self._adds.told if response.is_success else None
        if told is not None and _is_stream(response):
            kept = [(k, v) for k, v in kept if k != b"content-length"]
            body = _annotated(response.aiter_raw(), Annotator(told))
        elif told is not None:
            whole = _with_told(await response.aread(), told)
            kept = [(k, v) for k, v in kept if k != b"content-length"]
            kept.append((b"content-length", str(len(whole)).encode()))
            body = _once(whole)
        else:
            body = response.aiter_raw()
        kept += [(k.encode(), v.encode()) for k, v in self._adds.headers.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        async for part in body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _refuse(self, status: int, reason: str, error: Exception) -> Response:
        kind = type(error).__name__
        self._failed(kind)
        log.warning("%s: %s", reason, error)
        message = f"{reason} ({kind}); is {self._request.url.host} up, and --upstream right?"
        body = error_body(message, "upstream_error", anthropic=self._adds.anthropic)
        return JSONResponse(body, status, headers=dict(self._adds.headers))


def _is_stream(response: "httpx2.Response") -> bool:
    return bool(response.headers.get("content-type", "").startswith("text/event-stream"))


def _with_told(body: bytes, told: Mapping[str, Any]) -> bytes:
    """Return a JSON object with the `scr` object in it; anything else as it is."""
    value = parsed(body)
    return body if value is None else written({**value, "scr": told})


async def _annotated(parts: AsyncIterator[bytes], annotator: Annotator) -> AsyncIterator[bytes]:
    async for part in parts:
        if ready := annotator.feed(part):
            yield ready
    if rest := annotator.finish():
        yield rest


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
