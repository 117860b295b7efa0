"""Limits on requests: their size, how many at one time, how many a minute."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scr.errors import RequestTooLarge, RequestTooSlow, TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALLERS: Final = 10_000  # whose rate is remembered


async def read_body(
    stream: AsyncIterator[bytes], declared: str | None, most: int, *, seconds: float
) -> bytes:
    """Return a request's body.

    Args:
        stream: its parts.
        declared: the header that tells its length, if there is one.
        most: bytes that are taken.
        seconds: within which it has to arrive.

    Raises:
        RequestTooLarge: it has more; no more than `most` are read.
        RequestTooSlow: it takes longer.
    """
    advice = f"a request may have {most} bytes; `scr serve --max-bytes` sets it"
    if declared and declared.isdecimal() and int(declared) > most:
        raise RequestTooLarge(f"this one has {declared}: {advice}")
    read = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                read += part
                if len(read) > most:
                    raise RequestTooLarge(advice)
    except TimeoutError as error:
        raise RequestTooSlow(f"the body did not arrive within {seconds:g} s") from error
    return bytes(read)


class Concurrency:
    """At most so many requests at one time; one more is refused, not queued."""

    def __init__(self, most: int) -> None:
        """Allow `most`."""
        self.most = most
        self.running = 0

    @contextmanager
    def taken(self) -> "Iterator[None]":
        """Hold a place for the time of the block.

        Raises:
            TooManyRequests: there is none.
        """
        if self.running >= self.most:
            raise TooManyRequests(f"{self.most} requests are being answered already")
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


class Rate:
    """At most so many requests a minute from one caller (a token bucket each)."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `per_minute` requests; 0 is no limit."""
        self._most = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count a request of a caller.

        Raises:
            TooManyRequests: it is one too many.
        """
        if not self._most:
            return
        now = self._clock()
        full = max(self._most, 1.0)
        left, then = self._buckets.pop(caller, (full, now))
        left = min(full, left + (now - then) * self._most / 60)
        self._buckets[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        if left < 1:
            wait = 60 * (1 - left) / self._most
            raise TooManyRequests(f"{self._most:g} requests a minute are allowed", wait)
