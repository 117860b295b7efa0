"""Every revision in columns of numbers: lists, counts and pages of any state that ever was.

The facts themselves are read for the page that is shown only. What the store holds is read once and
then followed. A revision is in force from its own sequence number until that of the next one of its
fact, so that one comparison gives the store as it was.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from scr.facts import Fact, Revision
from scr.records import Record
from scr.store import finds
from scr.store.relations import Relations
from scr.store.schema import current, revisions, to_micros, to_revision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scr.store.reading import AsOf
    from scr.store.store import Store

FACETS: Final = ("status", "kind", "scope", "relation", "tag")
"""What facts are counted by."""

_SINGLE: Final = FACETS[:-1]  # a fact has one of each of these, and any number of tags
_OPEN: Final = np.iinfo(np.int64).max
_BATCH: Final = 20_000  # revisions read at a time
_RANKED: Final = 2_000  # finds up to which the best come first; more of them are in order of time

_READ = (
    sa.select(
        revisions.c.sequence, revisions.c.fact_id, revisions.c.action, revisions.c.status,
        revisions.c.scope, revisions.c.valid_start, revisions.c.valid_end, revisions.c.fact,
    )
    .where(revisions.c.sequence > sa.bindparam("since"))
    .order_by(revisions.c.sequence)
    .limit(_BATCH)
)  # fmt: skip


class Asked(Record):
    """Which facts are looked for."""

    text: str = ""
    """Words that they hold; empty: any."""

    chosen: Mapping[str, str] = {}
    """The value that they have, by facet."""

    valid_at: datetime | None = None
    """World time at which they hold; `None`: any."""

    as_of: datetime | int | None = None
    """Store time; `None`: now."""


class Page(NamedTuple):
    """A part of what was found."""

    total: int
    """How many facts there are in all."""

    found: list[Revision]
    """Those of this page."""

    counts: dict[str, list[tuple[str, int]]]
    """By facet: each value with how many facts have it, among those that are found but for what is
    chosen of this very facet; the most frequent first."""

    ranked: bool
    """Whether the best come first; else those changed last."""


class _Codes:
    """Numbers for texts, in the order in which they came."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        found = self._numbers.setdefault(text, len(self.texts))
        if found == len(self.texts):
            self.texts.append(text)
        return found

    def find(self, text: str) -> int:
        """Return a text's number; -1 where it never came."""
        return self._numbers.get(text, -1)


class Catalog:
    """The columns of one store. Safe to share between threads."""

    def __init__(self, store: "Store") -> None:
        """Follow `store`; nothing is read before the first question."""
        self._store = store
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._facts = _Codes()
        self._codes = {facet: _Codes() for facet in FACETS}
        self._last: list[int] = []  # by fact: the row of its latest revision
        self._columns = _Columns.empty()

    def follow(self) -> None:
        """Read what the store holds that is not in the columns yet."""
        with self._lock:
            while self._read():
                pass

    def page(
        self,
        asked: Asked,
        sees: Callable[[str], bool],
        *,
        limit: int,
        offset: int = 0,
        facets: Sequence[str] = FACETS,
    ) -> Page:
        """Return facts, and how many there are of each kind.

        Args:
            asked: which facts.
            sees: whether facts of a scope may be seen.
            limit: the most to return.
            offset: how many to leave out at the beginning.
            facets: by which of `FACETS` to count.
        """
        self.follow()
        with self._lock:
            columns, codes = self._columns, self._codes
            sequence = self._sequence(asked.as_of)
            base = self._in_force(asked, sees, sequence)
        order = None
        if asked.text.strip():
            base, order = self._matching(asked.text, columns, base)
        of = {name: columns.having(name, codes[name], value)
              for name, value in asked.chosen.items() if name in FACETS}  # fmt: skip
        rows = np.flatnonzero(_all([base, *of.values()]))
        counts = {}
        for facet in facets:
            others = [mask for name, mask in of.items() if name != facet]
            counts[facet] = columns.counted(facet, codes[facet], _all([base, *others]))
        ordered = rows[::-1] if order is None else order[np.isin(order, rows)]
        wanted = columns.sequence[ordered[offset : offset + limit]]
        return Page(len(rows), self._revisions(wanted), counts, order is not None)

    def count(self, sees: Callable[[str], bool], **chosen: str) -> int:
        """Return how many facts have what is chosen of facets now."""
        return self.page(Asked(chosen=chosen), sees, limit=0, facets=()).total

    def in_slot(self, fact: Fact) -> list[Revision]:
        """Return the latest revisions of all facts in the slot of a fact, itself included."""
        relations = Relations(self._store.declared)
        if (slot := relations.slot(fact)) is None:
            return []
        own = (
            sa.select(revisions)
            .join(current, current.c.sequence == revisions.c.sequence)
            .where(
                revisions.c.slot_subject == slot.subject,
                revisions.c.slot_relation.in_(relations.names(slot.relation)),
                revisions.c.scope == slot.scope,
            )
            .order_by(revisions.c.sequence)
        )
        return self._whole(own)

    def _sequence(self, as_of: "AsOf") -> int:
        if as_of is None:
            return int(_OPEN) - 1
        if isinstance(as_of, datetime):
            sequence: int = self._store.sequence_at(as_of)
            return sequence
        return max(0, min(as_of, int(_OPEN) - 1))

    def _whole(self, select: "sa.Select[Any]") -> list[Revision]:
        with self._store._database.read() as connection:
            return [to_revision(row) for row in connection.execute(select)]

    def _in_force(
        self, asked: Asked, sees: Callable[[str], bool], sequence: int
    ) -> "NDArray[np.bool_]":
        columns = self._columns
        mask = (columns.sequence <= sequence) & (columns.until > sequence)
        seen = np.fromiter(map(sees, self._codes["scope"].texts), dtype=bool)
        if not seen.all():
            mask &= seen[columns.codes["scope"]]
        if asked.valid_at is not None:
            when = to_micros(asked.valid_at)
            mask &= (columns.start <= when) & (columns.end > when)
        return mask

    def _matching(
        self, text: str, columns: "_Columns", base: "NDArray[np.bool_]"
    ) -> "tuple[NDArray[np.bool_], NDArray[np.int64] | None]":
        """Return which rows hold the words too; and, where they are few, all finds, best first."""
        with self._store._database.read() as connection:
            found = finds.sequences(connection, text, ranked=_RANKED)
        sequences = np.asarray(found.sequences, dtype=np.int64)
        places = np.searchsorted(columns.sequence, sequences)
        places = places[places < len(columns.sequence)]  # what came since is not followed yet
        mask = np.zeros_like(base)
        mask[places] = True
        return mask & base, places if found.ranked else None

    def _revisions(self, sequences: "NDArray[np.int64]") -> list[Revision]:
        wanted = [int(each) for each in sequences]
        if not wanted:
            return []
        read = self._whole(sa.select(revisions).where(revisions.c.sequence.in_(wanted)))
        by_sequence = {revision.sequence: revision for revision in read}
        return [by_sequence[each] for each in wanted if each in by_sequence]

    def _read(self) -> bool:
        """Read the next revisions; returns whether there may be more."""
        since = int(self._columns.sequence[-1]) if len(self._columns.sequence) else 0
        with self._store._database.read() as connection:
            rows = connection.execute(_READ, {"since": since}).all()
        if any(row.action == "erase" for row in rows) and since:
            self._clear()  # an erasure takes words out of the past too
            return True
        if rows:
            self._append(rows)
        return len(rows) == _BATCH

    def _append(self, rows: Sequence[Any]) -> None:
        first = len(self._columns.sequence)
        numbers: dict[str, list[int]] = {facet: [] for facet in _SINGLE}
        tags: list[tuple[int, int]] = []
        ends: list[tuple[int, int]] = []  # a row, and the sequence number that ends it
        for row, revision in enumerate(rows, start=first):
            fact = json.loads(revision.fact)
            values = {"status": revision.status, "scope": revision.scope,
                      "kind": fact["kind"], "relation": fact["relation"]}  # fmt: skip
            for facet, value in values.items():
                numbers[facet].append(self._codes[facet].number(value))
            tags += ((row, self._codes["tag"].number(tag)) for tag in dict.fromkeys(fact["tags"]))
            place = self._facts.number(revision.fact_id)
            if place == len(self._last):
                self._last.append(row)
            else:
                ends.append((self._last[place], revision.sequence))
                self._last[place] = row
        self._columns = self._columns.extended(rows, numbers, tags, ends)


class _Columns(NamedTuple):
    """One row for each revision; never changed, so that readers need no lock."""

    sequence: "NDArray[np.int64]"
    until: "NDArray[np.int64]"
    start: "NDArray[np.int64]"
    end: "NDArray[np.int64]"
    codes: "dict[str, NDArray[np.int32]]"
    tags: "NDArray[np.int64]"
    """Rows of (row, code of a tag)."""

    @classmethod
    def empty(cls) -> "_Columns":
        none = np.zeros(0, dtype=np.int64)
        codes = {facet: np.zeros(0, dtype=np.int32) for facet in _SINGLE}
        return cls(none, none, none, none, codes, np.zeros((0, 2), dtype=np.int64))

    def extended(
        self,
        rows: Sequence[Any],
        numbers: Mapping[str, list[int]],
        tags: list[tuple[int, int]],
        ends: list[tuple[int, int]],
    ) -> "_Columns":
        def joined(old: "NDArray[Any]", new: Any) -> "NDArray[Any]":
            return np.concatenate([old, np.asarray(new, dtype=old.dtype)])

        until = joined(self.until, np.full(len(rows), _OPEN))
        if ends:
            places, sequences = np.asarray(ends, dtype=np.int64).T
            until[places] = sequences
        starts = [-_OPEN if row.valid_start is None else row.valid_start for row in rows]
        stops = [_OPEN if row.valid_end is None else row.valid_end for row in rows]
        return _Columns(
            joined(self.sequence, [row.sequence for row in rows]),
            until,
            joined(self.start, starts),
            joined(self.end, stops),
            {facet: joined(self.codes[facet], numbers[facet]) for facet in _SINGLE},
            joined(self.tags, tags or np.zeros((0, 2), dtype=np.int64)),
        )

    def having(self, facet: str, codes: _Codes, value: str) -> "NDArray[np.bool_]":
        """Return which rows have a value of a facet."""
        number = codes.find(value)
        if facet != "tag":
            same: NDArray[np.bool_] = self.codes[facet] == number
            return same
        mask = np.zeros(len(self.sequence), dtype=bool)
        mask[self.tags[self.tags[:, 1] == number, 0]] = True
        return mask

    def counted(
        self, facet: str, codes: _Codes, mask: "NDArray[np.bool_]"
    ) -> list[tuple[str, int]]:
        """Return the values of a facet with how many rows of a mask have each, most first."""
        tagged = self.tags[mask[self.tags[:, 0]], 1] if facet == "tag" else None
        counted = np.bincount(self.codes[facet][mask] if tagged is None else tagged)
        order = np.argsort(-counted, kind="stable")
        return [(codes.texts[i], int(counted[i])) for i in order if counted[i]]


def _all(masks: "Sequence[NDArray[np.bool_]]") -> "NDArray[np.bool_]":
    held: NDArray[np.bool_] = np.logical_and.reduce(masks)
    return held
