"""The key index: facts with their history, keys and vectors, searched under a filter.

A row is one key of one version of a fact. Nothing is ever deleted: a version that was retired or
revised gets the sequence number that ended it, and every read says which versions it may see.
Facts are kept as JSON and read when they are needed, since a million of them as objects would
fill the memory.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scr.facts import Fact, Revision, scopes_above
from scr.records import Embedder, Query
from scr.retrieval.columns import Arrays, Column, Multimap, Texts, key_of, part, under
from scr.retrieval.keys import Key, keys_of
from scr.retrieval.nearest import Allowed, Codes, Nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN: Final = np.iinfo(np.int64).max
"""Ending sequence number of a version that is still in force."""

_NO_START, _NO_END = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANKS = {"deprecated": 0, "normal": 1, "preferred": 2}
_SEQUENCE, _UNTIL, _START, _END, _SCOPE, _RANK, _SLOT = range(7)  # columns of a version
_KEPT: Final = 32_768  # facts that are kept as objects, those used last
_VIEWS: Final = 16  # sets of visible versions that are kept
_EMBEDDED: Final = 16_384  # texts that are embedded at once


class Entry(NamedTuple):
    """A version as it is read."""

    fact: Fact
    keys: list[Key]


class View(NamedTuple):
    """The versions that a query may see."""

    mask: "NDArray[np.bool_]"
    """Over the versions."""

    rows: Allowed
    """Their keys."""

    since: int
    """World time, in microseconds, from which and before which it is the same."""

    before: int


class KeyIndex:
    """Versions of facts, their keys and the keys' vectors. Append-only."""

    def __init__(self) -> None:
        """Start empty; vectors of any one length can be added."""
        self.codes = Codes()
        self._last = 0  # sequence number of the last revision
        self._facts = Texts()  # version -> JSON
        self._spans = Column(np.int64, 7)  # version -> what decides who sees it
        self._rows = Column(np.int64)  # version -> the end of its rows
        self._row_version = Column(np.int32)
        self._row_vectors = Column(np.int32, 2)  # row -> plain and masked vector
        self._versions = Multimap()  # fact id -> versions
        self._vectors = Multimap()  # text -> vector
        self._waiting: list[str] = []  # texts whose vectors are still to come, in their order
        self._scopes: dict[str, int] = {}
        self._nearest = Nearest()
        self._views: OrderedDict[tuple[str, int | None], View] = OrderedDict()
        self.entry = lru_cache(maxsize=_KEPT)(self._read)
        """Returns a version's fact and keys."""

    def __len__(self) -> int:
        """Number of versions."""
        return len(self._facts)

    def fact(self, version: int) -> Fact:
        """Return the fact of a version."""
        return self.entry(version).fact

    def follow(
        self,
        revisions: Iterable[Revision],
        embedder: Embedder,
        noted: Callable[[int, Fact], None] = lambda _version, _fact: None,
    ) -> None:
        """Take in revisions in their order, and call `noted` with each new version.

        Those that were taken in already, by a call that failed later on, are passed over.
        """
        for revision in revisions:
            if revision.sequence <= self._last:
                continue
            self._last = revision.sequence
            self._views.clear()
            until = self._spans.all[:, _UNTIL]
            for version in self._versions.get(key_of(revision.fact.id)):
                if until[version] == OPEN:
                    until[version] = revision.sequence
            if revision.status == "approved":
                noted(self._append(revision.fact, revision.sequence), revision.fact)
            if len(self._waiting) >= _EMBEDDED:
                self._embed(embedder)
        self._embed(embedder)

    def _append(self, fact: Fact, sequence: int) -> int:
        version = self._facts.append(fact.model_dump_json())
        start, end = fact.validity.start, fact.validity.end
        self._spans.append(
            (
                sequence,
                OPEN,
                _microseconds(start) if start else _NO_START,
                _microseconds(end) if end else _NO_END,
                self._scopes.setdefault(fact.scope, len(self._scopes)),
                _RANKS[fact.rank],
                key_of("\n".join(fact.slot)) >> 1 if fact.slot else -1,
            )
        )
        self._versions.add(key_of(fact.id), version)
        for key in keys_of(fact):
            self._row_version.append(version)
            self._row_vectors.append((self._vector(key.plain), self._vector(key.masked)))
        self._rows.append(len(self._row_version))
        return version

    def _vector(self, text: str) -> int:
        """Return the number of a text's vector, which may still have to be made."""
        key = key_of(text)
        for number in self._vectors.get(key):
            return int(number)
        number = len(self.codes) + len(self._waiting)
        self._vectors.add(key, number)
        self._waiting.append(text)
        return number

    def _embed(self, embedder: Embedder) -> None:
        if self._waiting:
            self.codes.extend(embedder(self._waiting))
            self._waiting.clear()

    def _read(self, version: int) -> Entry:
        fact = Fact.model_validate_json(self._facts[version])
        return Entry(fact, keys_of(fact))

    def visible(self, query: Query) -> View:
        """Return the versions that may answer the query."""
        if isinstance(query.as_of, datetime):
            raise TypeError("as_of must be a sequence number here; the store translates times")
        when = _microseconds(query.valid_at or datetime.now(UTC))
        asked = (query.scope, query.as_of)
        view = self._views.get(asked)
        if view is None or not view.since <= when < view.before:
            view = self._views[asked] = self._view(query.scope, query.as_of, when)
        self._views.move_to_end(asked)
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _view(self, scope: str, as_of: int | None, when: int) -> View:
        spans = self._spans.all
        start, end, slot = spans[:, _START], spans[:, _END], spans[:, _SLOT]
        sees = [self._scopes[s] for s in scopes_above(scope) if s in self._scopes]
        mask = (spans[:, _RANK] > 0) & np.isin(spans[:, _SCOPE], sees)
        if as_of is None:
            mask &= spans[:, _UNTIL] == OPEN
        else:
            mask &= (spans[:, _SEQUENCE] <= as_of) & (as_of < spans[:, _UNTIL])
        changes = np.concatenate([start[mask], end[mask]])
        since = int(changes[changes <= when].max(initial=_NO_START))
        before = int(changes[changes > when].min(initial=_NO_END))
        mask &= (start <= when) & (when < end)
        preferred = mask & (spans[:, _RANK] == _RANKS["preferred"]) & (slot >= 0)
        if preferred.any():
            mask &= (spans[:, _RANK] == _RANKS["preferred"]) | ~np.isin(slot, slot[preferred])
        return View(mask, Allowed.of(mask[self._row_version.all]), since, before)

    def search(self, vectors: "NDArray[np.float32]", limit: int, view: View) -> list[int]:
        """Return the versions whose plain keys lie nearest to any of the vectors, best first.

        Args:
            vectors: `(m, d)` unit rows.
            limit: most versions returned for each vector.
            view: which may be found.
        """
        if not view.rows.total or not len(vectors):
            return []
        row_version = self._row_version.all
        self._nearest.follow(self.codes, self._row_vectors.all[:, 0])
        depth = 4 * limit  # a version may be hit by several keys
        scores, rows = self._nearest.search(vectors, depth, view.rows)
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
        first = int(self._rows.all[version - 1]) if version else 0
        plain, masked = self._row_vectors.all[first : int(self._rows.all[version])].T
        return self.codes[plain], self.codes[masked]

    def arrays(self) -> Arrays:
        """Return what `restore` takes."""
        self._nearest.follow(self.codes, self._row_vectors.all[:, 0])
        scopes = Texts()
        for scope in self._scopes:
            scopes.append(scope)
        return {
            "last": np.array([self._last], dtype=np.int64),
            "spans": self._spans.all,
            "rows": self._rows.all,
            "row_version": self._row_version.all,
            "row_vectors": self._row_vectors.all,
            **under("facts", self._facts.arrays()),
            **under("versions", self._versions.arrays()),
            **under("vectors", self._vectors.arrays()),
            **under("scopes", scopes.arrays()),
            **under("codes", self.codes.arrays()),
            **under("nearest", self._nearest.arrays()),
        }

    def restore(self, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Take over the index of a snapshot."""
        scopes = Texts()
        scopes.restore(part("scopes", arrays))
        self._scopes = {scope: number for number, scope in enumerate(scopes)}
        self._last = int(arrays["last"][0])
        self._spans.restore(arrays["spans"])
        self._rows.restore(arrays["rows"])
        self._row_version.restore(arrays["row_version"])
        self._row_vectors.restore(arrays["row_vectors"])
        self._facts.restore(part("facts", arrays))
        self._versions.restore(part("versions", arrays))
        self._vectors.restore(part("vectors", arrays))
        self.codes.restore(part("codes", arrays))
        self._nearest.restore(part("nearest", arrays))


def _microseconds(when: datetime) -> int:
    """Microseconds since 1970, exact for every datetime."""
    span = when - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
