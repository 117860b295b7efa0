"""Limits on failed attempts to sign in."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from scr.errors import KeyRequired, SignInRefused, TooManyRequests

WINDOW: Final = 900.0
"""Seconds for which a failed attempt counts."""

_OF_ADDRESS: Final = 30
_OF_NAME_THERE: Final = 5  # of one name from one address
_OF_NAME: Final = 100  # from wherever: so many that nobody locks another out by chance
_KEPT: Final = 20_000


class Attempts:
    """Counts failed attempts: by address, by name, and by both."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count by `clock`, in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    @contextmanager
    def counted(self, address: str, name: str = "") -> Iterator[None]:
        """Count an attempt that fails in the block, unless there were too many already.

        It counts before it is known to fail: otherwise many at one time would all be let through.

        Raises:
            TooManyRequests: there were.
        """
        most: dict[tuple[str, ...], int] = {("address", address): _OF_ADDRESS}
        if name:
            most[("both", address, name)] = _OF_NAME_THERE
            most[("name", name)] = _OF_NAME
        now = self._clock()
        with self._lock:
            for key, count in most.items():
                self._require(key, count, now)
            for key in most:
                self._failed.setdefault(key, deque()).append(now)
                self._failed.move_to_end(key)
            while len(self._failed) > _KEPT:
                self._failed.popitem(last=False)
        try:
            yield
        except (KeyRequired, SignInRefused):
            raise
        except BaseException:
            self._forget(most, now)
            raise
        self._forget(most, now)

    def _require(self, key: tuple[str, ...], most: int, now: float) -> None:
        times = self._failed.get(key, deque())
        while times and now - times[0] >= WINDOW:
            times.popleft()
        if len(times) >= most:
            wait = WINDOW - (now - times[0])
            raise TooManyRequests("too many attempts to sign in have failed", wait)

    def _forget(self, keys: dict[tuple[str, ...], int], then: float) -> None:
        """Take back what was counted of an attempt that did not fail."""
        with self._lock:
            for key in keys:
                times = self._failed.get(key)
                if times is not None and then in times:
                    times.remove(then)
                if not times:
                    self._failed.pop(key, None)
