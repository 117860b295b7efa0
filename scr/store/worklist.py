"""The tasks of a store, kept while it changes.

Whether a fact wants attention depends on the facts that share a key with it (`queues.py`). So what
is kept is which facts share each key; after a change only the keys of the changed facts are looked
at again. Keys are kept as their hashes, and facts as their ids, so that a hundred thousand facts
take some tens of megabytes.
"""

import threading
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from scr.facts import Revision
from scr.store.queues import QUEUES, Key, Task, View, in_order
from scr.store.relations import Relations

if TYPE_CHECKING:
    from scr.store.store import Store

_DATED: Final = "expiring"  # the queue in which time alone changes something


class _Keyed(NamedTuple):
    """A fact with its keys."""

    revision: Revision
    keys: list[tuple[int, str, Key]]
    """Each with its hash and its queue."""


class Worklist:
    """The tasks of one store. Safe to share between threads."""

    def __init__(self, store: "Store", queues: Sequence[str] = ()) -> None:
        """Find the tasks of some queues of `QUEUES` (all, if none is named), when first asked."""
        self._store = store
        self._queues = [name for name in QUEUES if not queues or name in queues]
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._sequence: int | None = None  # of the last revision that was looked at
        self._relations = Relations()
        self._day: date | None = None
        self._hashes: dict[str, tuple[int, ...]] = {}  # of a fact's keys
        self._facts: dict[int, set[str]] = {}  # ids of the facts of a key, by its hash
        self._dated: set[int] = set()
        self._found: dict[int, list[Task]] = {}
        self._ordered: list[Task] = []

    def tasks(self, now: datetime) -> list[Task]:
        """Return what `queues.tasks` finds in the store.

        Args:
            now: the moment, zone-aware; of a day, what ends soon is found once.
        """
        with self._lock:  # which others wait for, instead of doing the same work
            declared = self._store.declared
            if self._sequence is None or declared != self._relations.declared:
                self._begin(now, Relations(declared))
            else:
                self._follow(now)
            return self._ordered

    def _begin(self, now: datetime, relations: Relations) -> None:
        self._clear()
        self._relations = relations
        sequence = self._store.sequence  # what comes after it may be seen twice
        latest = self._store.list(status=None)
        keyed = [self._keyed(revision) for revision in latest]
        self._look(self._place(keyed), keyed, now)
        self._sequence, self._day = sequence, now.date()

    def _follow(self, now: datetime) -> None:
        since = self._sequence or 0
        changed = {revision.fact.id: revision for revision in self._store.changes(since)}
        if not changed and now.date() == self._day:
            return
        touched = self._place([self._keyed(revision) for revision in changed.values()])
        if now.date() != self._day:
            touched |= self._dated
        beside = {fact_id for hashed in touched for fact_id in self._facts.get(hashed, ())}
        latest = self._store.latest(beside)
        self._look(touched, [self._keyed(revision) for revision in latest], now)
        self._sequence = max([since, *(revision.sequence for revision in changed.values())])
        self._day = now.date()

    def _keyed(self, revision: Revision) -> _Keyed:
        keys = [
            (queue, key)
            for queue in self._queues
            for key in QUEUES[queue].keys(revision, self._relations)
        ]
        return _Keyed(revision, [(hash(each), *each) for each in keys])

    def _place(self, changed: Iterable[_Keyed]) -> set[int]:
        """Put facts under their keys; return the hashes of those that they have and had."""
        touched: set[int] = set()
        for revision, keys in changed:
            fact_id = revision.fact.id
            old = self._hashes.pop(fact_id, ())
            for hashed in old:
                self._facts[hashed].discard(fact_id)
            if keys:
                self._hashes[fact_id] = tuple(hashed for hashed, _, _ in keys)
            for hashed, queue, _ in keys:
                self._facts.setdefault(hashed, set()).add(fact_id)
                if queue == _DATED:
                    self._dated.add(hashed)
            touched.update(old, (hashed for hashed, _, _ in keys))
        return touched

    def _look(self, touched: set[int], latest: Sequence[_Keyed], now: datetime) -> None:
        """Find the tasks of some keys anew among facts, sorted by id, that hold all who have them.

        Keys whose hashes are equal are told apart here.
        """
        buckets: dict[tuple[str, Key], list[Revision]] = {}
        for revision, keys in latest:
            for hashed, queue, key in keys:
                if hashed in touched and len(self._facts[hashed]) >= QUEUES[queue].least:
                    buckets.setdefault((queue, key), []).append(revision)
        for hashed in touched:
            self._found.pop(hashed, None)
            if not self._facts.get(hashed):
                self._facts.pop(hashed, None)
                self._dated.discard(hashed)
        view = View(now, self._relations)
        for (queue, key), bucket in buckets.items():
            if found := [*QUEUES[queue].find(key, bucket, view)]:
                self._found.setdefault(hash((queue, key)), []).extend(found)
        self._ordered = in_order(task for found in self._found.values() for task in found)
