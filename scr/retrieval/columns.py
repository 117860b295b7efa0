"""Append-only tables in flat arrays: little memory for a million rows, and read from disk at once.

Python objects cost some hundred bytes each. What an index keeps of every fact is held here instead:
numbers in `Column`, texts in `Texts`, and what leads from one to the other in `Multimap`. Each
turns into named arrays (`arrays`) and is made of them again (`restore`).
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

Arrays = dict[str, "NDArray[Any]"]
"""What a snapshot holds, by name."""

_LEAST_MERGED: Final = 65_536  # entries of a map that came last, before they are sorted in


def key_of(text: str) -> int:
    """Return 64 bits that stand for a text, the same in every process.

    Among ten million texts two share theirs with a probability of about 3e-6.
    """
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Column:
    """An array that rows can be added to: `(n,)`, or `(n, width)` where a width is given."""

    def __init__(self, dtype: "DTypeLike", width: int | None = None) -> None:
        """Start without rows."""
        self._shape = () if width is None else (width,)
        self._rows = np.zeros((0, *self._shape), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        """Number of rows."""
        return self._count

    @property
    def all(self) -> "NDArray[Any]":
        """Every row. A view: writing to it changes the column, adding rows may detach it."""
        return self._rows[: self._count]

    def append(self, row: object) -> None:
        """Add one row."""
        self._make_room(1)
        self._rows[self._count] = row
        self._count += 1

    def extend(self, rows: "NDArray[Any]") -> None:
        """Add rows."""
        self._make_room(len(rows))
        self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def restore(self, rows: "NDArray[Any]") -> None:
        """Take over the rows of a snapshot."""
        self._rows = rows.astype(self._rows.dtype, copy=False).reshape(-1, *self._shape)
        self._count = len(self._rows)

    def _make_room(self, more: int) -> None:
        if self._count + more > len(self._rows):
            room = max(self._count + more, len(self._rows) * 5 // 4, 16)
            rows = np.zeros((room, *self._shape), dtype=self._rows.dtype)
            rows[: self._count] = self.all
            self._rows = rows


class Texts(Sequence[str]):
    """Texts by number, as UTF-8 in one array."""

    def __init__(self) -> None:
        """Start without texts."""
        self._bytes = Column(np.uint8)
        self._ends = Column(np.int64)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._ends)

    def __getitem__(self, number: Any) -> Any:
        """Return a text; slices are not supported."""
        ends = self._ends.all
        start = int(ends[number - 1]) if number else 0
        return self._bytes.all[start : int(ends[number])].tobytes().decode("utf-8", "surrogatepass")

    def append(self, text: str) -> int:
        """Add a text and return its number."""
        self._bytes.extend(np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8))
        self._ends.append(len(self._bytes))
        return len(self._ends) - 1

    def arrays(self) -> Arrays:
        """Return what `restore` takes."""
        return {"bytes": self._bytes.all, "ends": self._ends.all}

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the texts of a snapshot."""
        self._bytes.restore(arrays["bytes"])
        self._ends.restore(arrays["ends"])


class Multimap:
    """Numbers under 64-bit keys, in the order in which they were added.

    Sorted arrays hold most of them; what came last is in a dictionary until there is enough of it
    to be worth sorting in.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._keys = np.zeros(0, dtype=np.uint64)  # distinct, rising
        self._starts = np.zeros(1, dtype=np.int64)  # of each key's numbers, and the end
        self._numbers = np.zeros(0, dtype=np.int32)
        self._recent: dict[int, list[int]] = {}
        self._waiting = 0

    def add(self, key: int, number: int) -> None:
        """Put one more number under a key."""
        self._recent.setdefault(key, []).append(number)
        self._waiting += 1
        if self._waiting >= max(_LEAST_MERGED, len(self._numbers) // 2):
            self._merge()

    def get(self, key: int) -> "NDArray[np.int32]":
        """Return the numbers under a key; none where it is not there."""
        recent = self._recent.get(key)
        known = self._known(key)
        if recent is None:
            return known
        fresh = np.array(recent, dtype=np.int32)
        return np.concatenate([known, fresh]) if len(known) else fresh

    def count(self, key: int) -> int:
        """Return how many numbers are under a key."""
        return len(self._known(key)) + len(self._recent.get(key, ()))

    def __contains__(self, key: int) -> bool:
        """Whether there is any number under a key."""
        return key in self._recent or len(self._known(key)) > 0

    def _known(self, key: int) -> "NDArray[np.int32]":
        at = int(self._keys.searchsorted(np.uint64(key)))
        if at == len(self._keys) or self._keys[at] != key:
            return self._numbers[:0]
        return self._numbers[self._starts[at] : self._starts[at + 1]]

    def _merge(self) -> None:
        if not self._recent:
            return
        fresh = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
        counts = np.fromiter(map(len, self._recent.values()), dtype=np.int64, count=len(fresh))
        numbers = np.fromiter(self._listed(), dtype=np.int32, count=int(counts.sum()))
        keys = np.concatenate([np.repeat(self._keys, np.diff(self._starts)), fresh.repeat(counts)])
        order = keys.argsort(kind="stable")
        keys = keys[order]
        self._numbers = np.concatenate([self._numbers, numbers])[order]
        firsts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        self._keys = keys[firsts]
        self._starts = np.r_[firsts, len(keys)].astype(np.int64)
        self._recent, self._waiting = {}, 0

    def _listed(self) -> Iterator[int]:
        for numbers in self._recent.values():
            yield from numbers

    def arrays(self) -> Arrays:
        """Return what `restore` takes."""
        self._merge()
        return {"keys": self._keys, "starts": self._starts, "numbers": self._numbers}

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the numbers of a snapshot."""
        self._keys, self._starts, self._numbers = (
            arrays[name] for name in ("keys", "starts", "numbers")
        )
        self._recent, self._waiting = {}, 0


def under(name: str, arrays: Mapping[str, "NDArray[Any]"]) -> Arrays:
    """Return arrays with a name put before theirs, so that those of several parts fit together."""
    return {f"{name}.{part}": array for part, array in arrays.items()}


def part(name: str, arrays: Mapping[str, "NDArray[Any]"]) -> Arrays:
    """Return what `under` put together under a name."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
