"""What happens to a request: who asks, is it small enough, does a fact apply, who answers."""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from scr.chat.augmentation import metadata_of
from scr.engine import SCR, Ask, Composed
from scr.errors import DecisionFailed, InvalidInput, ScrError
from scr.messages import text_of
from scr.records import Message
from scr.server.access import SCOPE_HEADER, Caller, Doorkeeper
from scr.server.deciding import Decider
from scr.server.limits import Concurrency, Rate, read_body
from scr.server.local import SERVED, LocalModel
from scr.server.protocols import Protocol, parsed, written
from scr.server.telemetry import Metrics
from scr.server.upstream import Answering, Upstream

if TYPE_CHECKING:
    from starlette.requests import Request

log = logging.getLogger(__name__)

DECISION: Final = "x-scr-decision"
FACTS: Final = "x-scr-facts"
REVISION: Final = "x-scr-revision"
TRACE: Final = "x-scr-trace"
TOKENS: Final = "x-scr-injected-tokens"
WARNING: Final = "x-scr-warning"
LONGEST: Final = 1_000_000
"""Characters of a conversation up to which facts are looked up."""

_LARGE: Final = 1_000_000  # bytes of a body


class Limits(NamedTuple):
    """What one server takes."""

    max_bytes: int = 20_000_000
    """Of a request's body."""

    concurrent: int = 512
    """Requests at one time."""

    per_minute: float = 0
    """Requests of one caller; 0 is no limit."""

    body_seconds: float = 60.0
    """Within which a body has to arrive."""


class Decided(NamedTuple):
    """What was decided on a request."""

    outcome: str
    """`applied`, `passed` (no fact applies), `unasked` (nothing that a fact could answer is asked),
    or `failed-open`."""

    headers: Mapping[str, str]
    told: Mapping[str, Any] | None = None
    text: str = ""
    """What goes into the prompt."""

    composed: Composed | None = None


class NotServed(Exception):
    """A local model does not speak this protocol."""


class Gateway:
    """Takes requests for the routes of a model, decides, and lets upstream or the model answer."""

    def __init__(
        self,
        knowledge: SCR,
        behind: Upstream | LocalModel,
        *,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """Decide by `knowledge`, and let `behind` answer."""
        self.knowledge = knowledge
        self.behind = behind
        self.metrics = metrics
        if isinstance(behind, Upstream):
            behind.failed = lambda kind: metrics.upstream_errors.labels(kind).inc()
        self.limits = limits
        self.door = Doorkeeper(knowledge.store)
        self.concurrency = Concurrency(limits.concurrent)
        self.rate = Rate(limits.per_minute)
        self.ready = False
        self._decider = Decider(knowledge, metrics.batches.observe)
        self._sequence = 0

    async def start(self) -> None:
        """Load what the first decision would have to load."""
        await run_in_threadpool(self.follow)
        await run_in_threadpool(self.knowledge.decide, "Is everything loaded?")
        self.ready = True

    async def stop(self) -> None:
        """End what decides and answers."""
        self.ready = False
        await self._decider.close()
        if isinstance(self.behind, Upstream):
            await self.behind.close()
        else:
            self.behind.close()

    def follow(self) -> None:
        """Let keys and index follow the store, and measure how far it and they are."""
        self.door.refresh()
        self._measure()
        self.knowledge.follow()
        self._measure()

    def _measure(self) -> None:
        self._sequence = self.knowledge.store.sequence
        self.metrics.revision.set(self._sequence)
        self.metrics.lag.set(max(self._sequence - self.knowledge.followed, 0))

    def admit(self, request: "Request") -> Caller:
        """Return who asks, or raise what `Doorkeeper.admit` does."""
        address = request.client.host if request.client else ""
        try:
            caller = self.door.admit(request.headers, address)
        except ScrError:
            self.rate.take(address)  # keys are not guessed faster than this
            raise
        self.rate.take(caller.name)
        return caller

    async def ask(self, request: "Request", protocol: Protocol) -> Response:
        """Answer a request of one of the protocols."""
        caller = self.admit(request)
        if isinstance(self.behind, LocalModel) and protocol not in SERVED:
            raise NotServed
        default = self.knowledge.settings.scope
        scope = caller.scope(request.headers.get(SCOPE_HEADER), default)
        body = await self._body(request)
        # What is large is read in a thread: the loop has other streams to carry.
        value = parsed(body) if len(body) < _LARGE else await run_in_threadpool(parsed, body)
        messages = protocol.read(value) if value is not None else None
        if isinstance(self.behind, LocalModel):
            if value is None or messages is None:
                raise InvalidInput(f"the body is no JSON object as {protocol.path} takes it")
            return await self._by_model(protocol, value, Ask(messages, scope, caller=caller.key))
        ask = Ask(messages or [], scope, caller=caller.key)
        decided = await self._decide(ask)
        if decided.text and value is not None:
            placement = self.knowledge.settings.placement
            body = written(protocol.place(value, decided.text, placement))
        told = decided.told if protocol.annotated else None
        adds = Answering(decided.headers, told, protocol.anthropic)
        return self._forward(request, body, adds)

    async def pass_through(self, request: "Request") -> Response:
        """Pass a request on as it is."""
        self.admit(request)
        if isinstance(self.behind, LocalModel):
            raise NotServed
        body = await self._body(request)
        return self._forward(request, body, Answering(self._headers("unasked")))

    async def _body(self, request: "Request") -> bytes:
        declared = request.headers.get("content-length")
        limits = self.limits
        return await read_body(
            request.stream(), declared, limits.max_bytes, seconds=limits.body_seconds
        )

    def _forward(self, request: "Request", body: bytes, adds: Answering) -> Response:
        assert isinstance(self.behind, Upstream)  # noqa: S101 - the other kind answers itself
        query: bytes = request.scope["query_string"]
        return self.behind.forward(
            request.method, request.url.path, query, request.headers.raw, body, adds
        )

    async def _by_model(self, protocol: Protocol, body: Mapping[str, Any], ask: Ask) -> Response:
        assert isinstance(self.behind, LocalModel)  # noqa: S101 - asked only then
        room = await run_in_threadpool(self.behind.room, ask.messages)
        count = getattr(self.behind.chat, "count_tokens", None)
        decided = await self._decide(ask._replace(count_tokens=count, budget=room))
        composed = decided.composed.messages if decided.composed else ask.messages
        adds = Answering(decided.headers, decided.told)
        return self.behind.answer(protocol, body, composed, adds)

    async def _decide(self, ask: Ask) -> Decided:
        """Decide, or let the request pass loudly where that fails.

        Raises:
            DecisionFailed: instead, where the setting `fail_closed` says so.
        """
        if not ask.messages:
            return self._counted(Decided("unasked", self._headers("unasked")))
        if (size := _characters(ask.messages)) > LONGEST:
            headers = self._headers("unasked")
            headers |= {WARNING: f"too long to look up facts for: {size} characters"}
            return self._counted(Decided("unasked", headers))
        start = time.perf_counter()
        timeout = self.knowledge.settings.decision_timeout
        try:
            composed = await self._decider.decide(ask, timeout)
        except Exception as error:  # whatever it is, the request must not suffer for it
            return self._counted(self._failed(error, timeout))
        finally:
            self.metrics.waiting.observe(time.perf_counter() - start)
        trace = composed.trace
        if trace is None:
            return self._counted(Decided("unasked", self._headers("unasked"), composed=composed))
        self.metrics.traced(trace)
        self._sequence = trace.sequence
        outcome = "applied" if composed.text else "passed"
        headers = self._headers(outcome, ",".join(trace.injected))
        headers |= {TRACE: trace.id}
        if not composed.text:
            return self._counted(Decided(outcome, headers, composed=composed))
        headers |= {TOKENS: str(trace.injected_tokens)}
        told = metadata_of(trace)
        return self._counted(Decided(outcome, headers, told, composed.text, composed))

    def _failed(self, error: Exception, timeout: float) -> Decided:
        slow = isinstance(error, TimeoutError)
        reason = f"no decision within {timeout:g} s" if slow else type(error).__name__
        # Where it failed, but not its message: that may quote the question.
        where = "" if slow else "".join(traceback.format_tb(error.__traceback__))
        log.error("no decision: %s\n%s", reason, where)
        if self.knowledge.settings.fail_closed:
            self.metrics.decisions.labels("failed-closed").inc()
            raise DecisionFailed(
                f"whether a fact applies could not be decided ({reason}), and this server is set "
                "to refuse such requests (`fail_closed`); try again"
            ) from error
        headers = self._headers("failed-open")
        return Decided("failed-open", {**headers, WARNING: f"facts were not looked up: {reason}"})

    def _counted(self, decided: Decided) -> Decided:
        self.metrics.decisions.labels(decided.outcome).inc()
        return decided

    def _headers(self, outcome: str, facts: str = "") -> dict[str, str]:
        return {DECISION: outcome, FACTS: facts, REVISION: str(self._sequence)}


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(text_of(message)) for message in messages)


async def keep_following(gateway: Gateway, seconds: float) -> None:
    """Keep the index following the store, so that a request does not have to."""
    while True:
        await anyio.sleep(seconds)
        try:
            await run_in_threadpool(gateway.follow)
        except Exception:  # whatever it is, the next try may do better, and nobody else tries
            log.exception("the index could not follow the store; trying again")
