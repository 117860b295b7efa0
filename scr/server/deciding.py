"""Decisions for many requests at a time: those that wait are decided on together.

While one batch is decided on, in a thread, the next one gathers. Nobody waits for a batch to fill.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from scr.engine import Ask, Composed
from scr.records import Trace

LARGEST: Final = 32  # requests that are decided on together
WAITED_FOR: Final = 64  # changes of the store that a decision waits for; more are followed beside


class Knowledge(Protocol):
    """What deciding needs of the engine; `scr.engine.SCR` is one."""

    def run_many(self, asks: Sequence[Ask], *, most: int | None = None) -> list[Composed]:
        """Return each conversation with the facts that apply, and its trace."""
        ...

    def record(self, traces: Sequence[Trace]) -> None:
        """Keep traces."""
        ...


class _Waiting(NamedTuple):
    ask: Ask
    future: "asyncio.Future[Composed]"


class Decider:
    """Decides in a thread of its own, batch after batch. Made and used on one event loop."""

    def __init__(self, knowledge: Knowledge, batched: Callable[[int], None]) -> None:
        """Decide by `knowledge`; tell `batched` how many requests each batch holds."""
        self._knowledge = knowledge
        self._batched = batched
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scr-decide")
        self._work: asyncio.Task[None] | None = None

    async def decide(self, ask: Ask, timeout: float) -> Composed:
        """Return the conversation with the facts that apply; its trace is kept.

        Raises:
            TimeoutError: it takes longer than `timeout` seconds.
            Exception: whatever the decision itself raised.
        """
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        try:
            return await asyncio.wait_for(waiting.future, timeout)
        finally:
            with contextlib.suppress(ValueError):  # whoever gave up must not be kept waiting
                self._waiting.remove(waiting)

    async def close(self) -> None:
        """Give up what waits, and end the thread."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting:
            count = min(LARGEST, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            self._batched(count)
            await self._decide(batch)

    async def _decide(self, batch: Sequence[_Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.future.done()]
        if not batch:
            return
        try:
            asks = [waiting.ask for waiting in batch]
            made = await self._threaded(partial(self._knowledge.run_many, asks, most=WAITED_FOR))
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame: the others must not suffer for it
                half = len(batch) // 2
                await self._decide(batch[:half])
                await self._decide(batch[half:])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        ready = [
            (waiting, composed)
            for waiting, composed in zip(batch, made, strict=True)
            if not waiting.future.done()  # a trace tells what was sent, and these were given up
        ]
        traces = [composed.trace for _, composed in ready if composed.trace is not None]
        if traces:
            await self._threaded(self._knowledge.record, traces)
        for waiting, composed in ready:
            if not waiting.future.done():
                waiting.future.set_result(composed)

    async def _threaded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, call, *arguments)
