"""Decisions for many requests at a time: those that wait are decided on together.

While one batch is decided on, in a thread, the next one gathers. Nobody waits for a batch to fill.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from scr.engine import Ask, Composed

LARGEST: Final = 32  # requests that are decided on together

log = logging.getLogger(__name__)


class Knowledge(Protocol):
    """What deciding needs of the engine; `scr.engine.SCR` is one."""

    def run_many(self, asks: Sequence[Ask]) -> list[Composed]:
        """Return each conversation with the facts that apply, and its trace."""
        ...


class Decider:
    """Decides in a thread of its own, batch after batch. Made and used on one event loop."""

    def __init__(self, knowledge: Knowledge, batched: Callable[[int], None]) -> None:
        """Decide by `knowledge`; tell `batched` how many requests each batch holds."""
        self._knowledge = knowledge
        self._batched = batched
        self._waiting: deque[tuple[Ask, asyncio.Future[Composed]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scr-decide")
        self._work: asyncio.Task[None] | None = None

    async def decide(self, ask: Ask, timeout: float) -> Composed:
        """Return the conversation with the facts that apply.

        Raises:
            TimeoutError: it takes longer than `timeout` seconds.
            Exception: whatever the decision itself raised.
        """
        future: asyncio.Future[Composed] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        return await asyncio.wait_for(future, timeout)

    async def close(self) -> None:
        """Give up what waits, and end the thread."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting:
            batch = self._next()
            if not batch:
                continue
            self._batched(len(batch))
            await self._decide(batch)

    def _next(self) -> list[tuple[Ask, "asyncio.Future[Composed]"]]:
        """Take up to `LARGEST` requests; those that gave up waiting are left out."""
        batch: list[tuple[Ask, asyncio.Future[Composed]]] = []
        while self._waiting and len(batch) < LARGEST:
            ask, future = self._waiting.popleft()
            if not future.done():
                batch.append((ask, future))
        return batch

    async def _decide(self, batch: Sequence[tuple[Ask, "asyncio.Future[Composed]"]]) -> None:
        loop = asyncio.get_running_loop()
        asks = [ask for ask, _ in batch]
        try:
            made = await loop.run_in_executor(self._thread, self._knowledge.run_many, asks)
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame: the others must not suffer for it
                for one in batch:
                    await self._decide([one])
                return
            _, future = batch[0]
            if not future.done():
                future.set_exception(error)
            return
        for (_, future), composed in zip(batch, made, strict=True):
            if not future.done():
                future.set_result(composed)
