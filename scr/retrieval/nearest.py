"""Vectors in eight bits a number, and the search for the nearest ones.

Knows nothing of facts or texts. Small collections are searched exhaustively; large ones in cells
around centroids (an inverted file, Jégou et al. 2011, as faiss has it), of which the nearest are
searched.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scr.retrieval.columns import Arrays, Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXHAUSTIVE: Final = 131_072  # vectors up to which all of them are compared
_PROBED: Final = 32  # cells that are searched where every row is allowed; more where few are
_SAMPLE: Final = 40  # vectors a cell that its centroid is learned from
_OUTGROWN: Final = 8  # times the size that the cells were made for
_CHUNK: Final = 65_536  # vectors that are decoded at once
_LEVELS: Final = 127


class Codes:
    """Unit vectors, each as whole numbers of eight bits and the size of their unit."""

    def __init__(self) -> None:
        """Start empty; the first vectors set the dimension."""
        self._codes: Column | None = None
        self._units = Column(np.float32)

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self._units)

    @property
    def dimension(self) -> int:
        """Numbers of a vector; 0 before the first."""
        return 0 if self._codes is None else int(self._codes.all.shape[1])

    def extend(self, vectors: "NDArray[np.float32]") -> None:
        """Add `(n, d)` unit rows."""
        if self._codes is None:
            self._codes = Column(np.int8, vectors.shape[1])
        units = np.maximum(np.abs(vectors).max(axis=1), 1e-12) / _LEVELS
        self._codes.extend(np.rint(vectors / units[:, None]).astype(np.int8))
        self._units.extend(units)

    def __getitem__(self, numbers: Any) -> "NDArray[np.float32]":
        """Return the vectors of some numbers as `(k, d)` rows."""
        if self._codes is None:
            return np.zeros((0, 0), dtype=np.float32)
        rows: NDArray[np.float32] = self._codes.all[numbers].astype(np.float32)
        rows *= self._units.all[numbers][:, None]
        return rows

    def arrays(self) -> Arrays:
        """Return what `restore` takes."""
        codes = np.zeros((0, 0), dtype=np.int8) if self._codes is None else self._codes.all
        return {"codes": codes, "units": self._units.all}

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the vectors of a snapshot."""
        codes = arrays["codes"]
        self._codes = Column(np.int8, codes.shape[1]) if len(codes) else None
        if self._codes is not None:
            self._codes.restore(codes)
        self._units.restore(arrays["units"])


class Allowed(NamedTuple):
    """Which rows a search may return."""

    total: int
    bits: "NDArray[np.uint8]"
    """One bit a row, the lowest first."""

    @classmethod
    def of(cls, mask: "NDArray[np.bool_]") -> "Allowed":
        """Return the rows that a mask allows."""
        return cls(int(mask.sum()), np.packbits(mask, bitorder="little"))


class Nearest:
    """Finds the rows with the largest inner products; rows can be added at any time."""

    def __init__(self) -> None:
        """Start empty."""
        self._index: Any = None
        self._made_for = 0  # rows when the cells were made; 0 without cells

    def __len__(self) -> int:
        """Number of rows that are searched."""
        return int(self._index.ntotal) if self._index is not None else 0

    def follow(self, codes: Codes, numbers: "NDArray[np.int32]") -> None:
        """Take in new rows: `numbers` says for every row, old and new, which vector is its."""
        if not len(numbers):
            return
        if self._index is None or self._outgrown(len(numbers)):
            self._index = self._made(codes, numbers)
        for start in range(len(self), len(numbers), _CHUNK):
            self._index.add(codes[numbers[start : start + _CHUNK]])

    def search(
        self, vectors: "NDArray[np.float32]", depth: int, allowed: Allowed
    ) -> tuple["NDArray[np.float32]", "NDArray[np.int64]"]:
        """Return the scores and rows nearest to each vector, best first; row -1 is none.

        Args:
            vectors: `(m, d)` unit rows.
            depth: rows for each of them.
            allowed: those that may be returned.
        """
        faiss = _faiss()
        selector = faiss.IDSelectorBitmap(allowed.bits)
        if self._made_for:
            cells = min(self._index.nlist, _PROBED * len(self) // max(allowed.total, 1))
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=cells)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        scores, rows = self._index.search(vectors, min(depth, allowed.total), params=parameters)
        return scores, rows

    def _outgrown(self, rows: int) -> bool:
        return rows > EXHAUSTIVE and rows > _OUTGROWN * self._made_for

    def _made(self, codes: Codes, numbers: "NDArray[np.int32]") -> Any:
        """Return an empty index of the kind that so many rows need."""
        faiss = _faiss()
        if len(numbers) <= EXHAUSTIVE:
            return faiss.IndexFlatIP(codes.dimension)
        self._made_for = len(numbers)
        cells = 1 << (len(numbers) - 1).bit_length() // 2 + 1
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(codes.dimension),
            codes.dimension,
            cells,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        drawn = np.random.default_rng(0).choice(numbers, min(_SAMPLE * cells, len(numbers)), False)
        index.train(codes[drawn])
        return index

    def arrays(self) -> Arrays:
        """Return what `restore` takes; nothing where all is made again in a moment."""
        if not self._made_for:
            return {}
        made_for = np.array([self._made_for], dtype=np.int64)
        return {"index": _faiss().serialize_index(self._index), "made_for": made_for}

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the rows of a snapshot."""
        if "index" in arrays:
            self._index = _faiss().deserialize_index(arrays["index"])
            self._made_for = int(arrays["made_for"][0])


def _faiss() -> Any:
    """The library, loaded when it is first used; its stubs lack what its wrappers accept."""
    return import_module("faiss")
