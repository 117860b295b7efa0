"""The HTTP application: routes, errors in the clients' shapes, metrics, health."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import scr
from scr.errors import (
    RequestTooLarge,
    RequestTooSlow,
    ScrError,
    TooManyRequests,
    TraceNotFound,
)
from scr.facts import new_id
from scr.records import Trace
from scr.server.desk import add_desk
from scr.server.gateway import Gateway, Limits, NotServed, keep_following
from scr.server.local import LocalModel
from scr.server.protocols import ALL, MESSAGES, Protocol, error_body
from scr.server.telemetry import Metrics, request_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from scr.engine import SCR
    from scr.server.desk import Desk
    from scr.server.upstream import Upstream

log = logging.getLogger("scr.server")

FOLLOWING: Final = 0.5
"""Seconds after which the index looks for changes of the store."""

_REQUEST_ID: Final = "x-request-id"
_SOUND_ID: Final = re.compile(r"[\w.:-]{1,128}")
_HUNG_UP: Final = 499  # as nginx logs it
_NOT_COUNTED: Final = {"/healthz", "/readyz", "/metrics"}


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Vote(BaseModel):
    """What somebody thinks of an answer."""

    vote: Literal["up", "down"]


class ErrorBody(BaseModel):
    """An error in OpenAI's shape; `/v1/messages` answers in Anthropic's."""

    error: ErrorDetail


_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorBody, "description": "No key in force is shown."},
    403: {"model": ErrorBody, "description": "The key does not allow this."},
    404: {"model": ErrorBody, "description": "There is no such thing."},
    408: {"model": ErrorBody, "description": "The body did not arrive in time."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    422: {"model": ErrorBody, "description": "The request cannot be used."},
    429: {"model": ErrorBody, "description": "Too many requests."},
    501: {"model": ErrorBody, "description": "A local model does not speak this protocol."},
    502: {"model": ErrorBody, "description": "Upstream does not answer."},
    503: {"model": ErrorBody, "description": "No decision, and the server is set to refuse then."},
    504: {"model": ErrorBody, "description": "Upstream took too long."},
    "default": {"description": "Whatever else upstream answers."},
}


def create_app(
    knowledge: "SCR",
    behind: "Upstream | LocalModel",
    *,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        knowledge: decides; it stays the caller's to close.
        behind: answers; it is closed with the application.
        limits: what is taken.
        metrics: where is counted; one for each application.
    """
    metrics = metrics or Metrics()
    gateway = Gateway(knowledge, behind, limits=limits or Limits(), metrics=metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        following = asyncio.create_task(keep_following(gateway, FOLLOWING))
        # Beside the requests, so that the desk's first page is as fast as the others.
        reading = asyncio.create_task(run_in_threadpool(app.state.desk.catalog.follow))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, reading, return_exceptions=True)
            await gateway.stop()

    app = FastAPI(title="SCR", version=scr.__version__, lifespan=lifespan)
    app.state.gateway = gateway
    for protocol in ALL:
        _add_protocol(app, gateway, protocol)
    _add_passed(app, gateway)
    _add_own(app, gateway)
    add_desk(app, gateway)
    _add_errors(app)
    app.add_middleware(_Observed, gateway=gateway)
    return app


def _add_protocol(app: FastAPI, gateway: Gateway, protocol: Protocol) -> None:
    async def ask(request: Request) -> Response:
        return await gateway.ask(request, protocol)

    body = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
    app.add_api_route(
        protocol.path,
        ask,
        methods=["POST"],
        response_model=None,
        name=f"Ask by {protocol.path}",
        responses=_ERRORS,
        openapi_extra={"requestBody": body},
    )


def _add_passed(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/embeddings", response_model=None, responses=_ERRORS)
    async def embeddings(request: Request) -> Response:
        """Passed through."""
        return await gateway.pass_through(request)

    @app.get("/v1/models", response_model=None, responses=_ERRORS)
    async def models(request: Request) -> Response:
        """Passed through; with a local model, that one."""
        if isinstance(gateway.behind, LocalModel):
            gateway.admit(request)
            return JSONResponse(gateway.behind.models())
        return await gateway.pass_through(request)


def _add_own(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/explain/{trace_id}", responses=_ERRORS)
    async def explain(trace_id: str, request: Request) -> Trace:
        """Return the decision on a request, by the id in its `x-scr-trace` header."""
        caller = gateway.admit(request)
        trace = await run_in_threadpool(gateway.knowledge.store.trace, trace_id)
        if not caller.explains(trace):
            raise TraceNotFound(trace_id)
        return trace

    @app.post("/feedback/{trace_id}", responses=_ERRORS, status_code=204)
    async def feedback(trace_id: str, vote: Vote, request: Request) -> Response:
        """Say that an answer was bad: it is counted for each fact that it was given with."""
        caller = gateway.admit(request)
        store = gateway.knowledge.store
        trace = await run_in_threadpool(store.trace, trace_id)
        if not caller.explains(trace):
            raise TraceNotFound(trace_id)
        if vote.vote == "down":
            await run_in_threadpool(store.usage.mark_down, trace.injected)
        return Response(status_code=204)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "Still loading, or stopping."}})
    async def readyz() -> JSONResponse:
        """Whether requests are decided on."""
        ready = gateway.ready
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        text = generate_latest(gateway.metrics.registry)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ScrError)
    async def refused(request: Request, error: ScrError) -> Response:
        if request.url.path.startswith("/ui"):
            desk: Desk = app.state.desk
            return await run_in_threadpool(desk.failed, request, error)
        status, reason, headers = error.http_status, str(error), {}
        if isinstance(error, TooManyRequests):
            headers["retry-after"] = str(max(round(error.wait), 1))
        if isinstance(error, RequestTooLarge | RequestTooSlow):
            headers["connection"] = "close"  # what is left of the body is not read
        if status == 500:  # such messages name files
            log.error("failed: %s", error)
            reason = "the server could not do this; its log says why"
        body = _shaped(request.url.path, reason, type(error).__name__)
        return JSONResponse(body, status, headers=headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        reason = "the server could not do this; its log says why"
        return JSONResponse(_shaped(request.url.path, reason, "server_error"), 500)

    @app.exception_handler(NotServed)
    async def not_served(request: Request, _error: NotServed) -> JSONResponse:
        reason = "a local model does not speak it: use /v1/chat/completions, or `--upstream`"
        message = f"{request.url.path}: {reason}"
        return JSONResponse(_shaped(request.url.path, message, "not_implemented"), 501)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        body = _shaped(request.url.path, message, "invalid_request_error")
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))


def _shaped(path: str, message: str, kind: str) -> Mapping[str, Any]:
    sound = message.encode("utf-8", "backslashreplace").decode()  # it may quote a lone surrogate
    return error_body(sound, kind, anthropic=path == MESSAGES.path)


class _Observed:
    """Gives each request an id, a line in the log and a place in the metrics, and counts them."""

    def __init__(self, app: "ASGIApp", gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http" or scope["path"] in _NOT_COUNTED:
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_REQUEST_ID.encode(), b"").decode("latin-1")
        named = given if _SOUND_ID.fullmatch(given) else new_id()
        token = request_id.set(named)
        start = time.perf_counter()
        status, outcome = 0, ""

        async def observed(message: "Message") -> None:
            nonlocal status, outcome
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                outcome = headers.get(b"x-scr-decision", b"").decode("latin-1")
                if _REQUEST_ID.encode() not in headers:
                    added = (_REQUEST_ID.encode(), named.encode())
                    message["headers"] = [*message["headers"], added]
            await send(message)

        try:
            with self._gateway.concurrency.taken():
                await self._app(scope, receive, observed)
        except TooManyRequests as error:
            refused = _shaped(scope["path"], str(error), type(error).__name__)
            response = JSONResponse(refused, error.http_status, headers={"retry-after": "1"})
            await response(scope, receive, observed)
        except ClientDisconnect:
            status = _HUNG_UP  # in the middle of its own request: nobody is there to be told
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._gateway.metrics.requests.labels(route, str(status)).inc()
            fields = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "decision": outcome,
                "ms": round((time.perf_counter() - start) * 1e3, 1),
            }
            log.info("answered", extra={"fields": fields})
            request_id.reset(token)
