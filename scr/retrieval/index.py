"""The key index: facts with their history, keys and vectors, searched under a filter.

A row is one key of one version of a fact. Nothing is ever deleted: a version that was retired or
revised gets the sequence number that ended it, and every read says which versions it may see.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scr.facts import Fact, Revision, Slot, scopes_above
from scr.records import Embedder, Query
from scr.retrieval.keys import Key, keys_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN = np.iinfo(np.int64).max
"""Ending sequence number of a version that is still in force."""

_NO_START, _NO_END = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANKS = {"deprecated": 0, "normal": 1, "preferred": 2}


class Version(NamedTuple):
    """A fact as it was approved, from one sequence number up to another."""

    fact: Fact
    sequence: int
    until: int


class KeyIndex:
    """Versions of facts, their keys and the keys' vectors. Append-only."""

    def __init__(self) -> None:
        """Start empty; vectors of any one length can be added."""
        self.facts: list[Fact] = []  # version -> fact
        self.rows: list[list[int]] = []  # version -> its rows
        self.keys: list[Key] = []  # row -> key
        self.texts: dict[str, int] = {}  # text -> number of its vector
        self.vectors: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self._last = 0  # sequence number of the last revision
        self._open: dict[str, int] = {}  # fact id -> version in force
        self._spans: list[
            list[int]
        ] = []  # version -> sequence, until, start, end, scope, rank, slot
        self._scopes: dict[str, int] = {}
        self._slots: dict[Slot, int] = {}
        self._row_version: list[int] = []
        self._row_vectors: list[tuple[int, int]] = []  # row -> plain and masked vector
        self._table: NDArray[np.int64] | None = None
        self._row_table: NDArray[np.int64] | None = None
        self._faiss: Any = None

    def __len__(self) -> int:
        """Number of versions."""
        return len(self.facts)

    def versions(self) -> Iterable[Version]:
        """Return every version, oldest first."""
        for fact, span in zip(self.facts, self._spans, strict=True):
            yield Version(fact, span[0], span[1])

    def follow(self, revisions: Iterable[Revision], embedder: Embedder) -> None:
        """Take in revisions in their order.

        Those that were taken in already, by a call that failed later on, are passed over.
        """
        for revision in revisions:
            if revision.sequence <= self._last:
                continue
            self._last = revision.sequence
            if (open_version := self._open.pop(revision.fact.id, None)) is not None:
                self._spans[open_version][1] = revision.sequence
                self._table = None
            if revision.status == "approved":
                self._open[revision.fact.id] = self._append(revision.fact, revision.sequence, OPEN)
        self._embed(embedder)

    def restore(
        self,
        versions: Iterable[Version],
        texts: Sequence[str],
        vectors: "NDArray[np.float32]",
        last: int,
        embedder: Embedder,
    ) -> None:
        """Take in versions of a snapshot up to sequence number `last`, and their vectors."""
        self.texts = {text: number for number, text in enumerate(texts)}
        self.vectors = vectors
        for fact, sequence, until in versions:
            version = self._append(fact, sequence, until)
            if until == OPEN:
                self._open[fact.id] = version
        self._last = last
        self._embed(embedder)  # nothing, unless keys are made otherwise than they were

    def _append(self, fact: Fact, sequence: int, until: int) -> int:
        version = len(self.facts)
        slot = self._slots.setdefault(fact.slot, len(self._slots)) if fact.slot else -1
        start, end = fact.validity.start, fact.validity.end
        self.facts.append(fact)
        self._spans.append(
            [
                sequence,
                until,
                _microseconds(start) if start else _NO_START,
                _microseconds(end) if end else _NO_END,
                self._scopes.setdefault(fact.scope, len(self._scopes)),
                _RANKS[fact.rank],
                slot,
            ]
        )
        rows = []
        for key in keys_of(fact):
            rows.append(len(self.keys))
            self.keys.append(key)
            self._row_version.append(version)
            texts = (key.plain, key.masked)
            plain, masked = (self.texts.setdefault(text, len(self.texts)) for text in texts)
            self._row_vectors.append((plain, masked))
        self.rows.append(rows)
        self._table = self._row_table = None
        return version

    def _embed(self, embedder: Embedder) -> None:
        missing = list(self.texts)[len(self.vectors) :]
        if missing:
            # Half precision at once, so that an index read from its snapshot is the same.
            fresh = embedder(missing).astype(np.float16).astype(np.float32)
            known = self.vectors if len(self.vectors) else fresh[:0]
            self.vectors = np.concatenate([known, fresh])

    def visible(self, query: Query) -> "NDArray[np.bool_]":
        """Return a mask over the versions: those that may answer the query."""
        table = self._versions_table()
        sequence, until, start, end, scope, rank, slot = table
        when = _microseconds(query.valid_at or datetime.now(UTC))
        sees = [self._scopes[s] for s in scopes_above(query.scope) if s in self._scopes]
        mask = (rank > 0) & (start <= when) & (when < end) & np.isin(scope, sees)
        if query.as_of is None:
            mask &= until == OPEN
        else:
            if isinstance(query.as_of, datetime):
                raise TypeError("as_of must be a sequence number here; the store translates times")
            mask &= (sequence <= query.as_of) & (query.as_of < until)
        preferred = mask & (rank == _RANKS["preferred"]) & (slot >= 0)
        if preferred.any():
            mask &= (rank == _RANKS["preferred"]) | ~np.isin(slot, slot[preferred])
        return np.asarray(mask)

    def search(
        self, vectors: "NDArray[np.float32]", limit: int, mask: "NDArray[np.bool_]"
    ) -> list[int]:
        """Return the versions whose plain keys lie nearest to any of the vectors, best first.

        Args:
            vectors: `(m, d)` unit rows.
            limit: most versions returned for each vector.
            mask: over the versions, which may be found.
        """
        if not mask.any() or not len(vectors):
            return []
        faiss = _faiss()
        row_version = self._rows_table()[:, 0]
        allowed = mask[row_version]
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        depth = min(int(allowed.sum()), 4 * limit)  # a version may be hit by several keys
        scores, rows = self._faiss_index().search(
            vectors, depth, params=faiss.SearchParameters(sel=selector)
        )
        found: dict[int, float] = {}
        for line, ids in zip(scores, rows, strict=True):
            best: dict[int, float] = {}
            for score, row in zip(line, ids, strict=True):
                if row >= 0 and len(best) < limit:
                    best.setdefault(int(row_version[row]), float(score))
            for version, score in best.items():
                found[version] = max(score, found.get(version, -1.0))
        return sorted(found, key=lambda version: (-found[version], version))

    def key_vectors(self, version: int) -> tuple["NDArray[np.float32]", "NDArray[np.float32]"]:
        """Return the `(k, d)` plain and masked vectors of a version's keys, in their order."""
        plain, masked = self._rows_table()[self.rows[version], 1:].T
        return self.vectors[plain], self.vectors[masked]

    def _versions_table(self) -> "NDArray[np.int64]":
        if self._table is None:
            self._table = np.array(self._spans, dtype=np.int64).reshape(-1, 7).T.copy()
        return self._table

    def _rows_table(self) -> "NDArray[np.int64]":
        if self._row_table is None:
            self._row_table = np.array(
                [(v, *pair) for v, pair in zip(self._row_version, self._row_vectors, strict=True)],
                dtype=np.int64,
            ).reshape(-1, 3)
        return self._row_table

    def _faiss_index(self) -> Any:
        if self._faiss is None:
            self._faiss = _faiss().IndexFlatIP(self.vectors.shape[1])
        fresh = self._rows_table()[self._faiss.ntotal :, 1]
        if len(fresh):
            self._faiss.add(self.vectors[fresh])
        return self._faiss


def _faiss() -> Any:
    """The library, loaded when it is first used; its stubs lack what its wrappers accept."""
    return import_module("faiss")


def _microseconds(when: datetime) -> int:
    """Microseconds since 1970, exact for every datetime."""
    span = when - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
