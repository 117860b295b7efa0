"""Reading a store: what it says, said at any time, and how that came about."""

import builtins
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from scr.errors import FactNotFound
from scr.facts import Kind, Revision, Status
from scr.store import search
from scr.store.csv_packs import write_csv
from scr.store.database import Database
from scr.store.formats import PackFormat, write_pack, write_yaml
from scr.store.schema import current, revisions, to_micros, to_revision
from scr.store.selection import Facet, Order, Page, Selection

AsOf = int | datetime | None
"""Store time: a sequence number, an instant, or `None` for the latest."""

_BATCH = 1_000  # revisions read at a time
_LAST_SEQUENCE = 2**63 - 1

_WRITERS: Final = {"jsonl": write_pack, "yaml": write_yaml, "csv": write_csv}

_NEWEST = sa.select(sa.func.coalesce(sa.func.max(revisions.c.sequence), 0))
_NEWEST_AT = _NEWEST.where(revisions.c.at <= sa.bindparam("at"))


class Reader:
    """The reading half of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def sequence(self) -> int:
        """Number of the latest change; 0 in an empty store."""
        with self._database.read() as connection:
            return int(connection.execute(_NEWEST).scalar_one())

    def sequence_at(self, instant: datetime) -> int:
        """Number of the latest change at or before `instant` (zone-aware, store time)."""
        with self._database.read() as connection:
            return _sequence_at(connection, instant)

    def get(self, fact_id: str, *, as_of: AsOf = None) -> Revision:
        """Return a fact's latest revision, or its latest at store time `as_of`.

        Raises:
            FactNotFound: if there was no such fact then.
        """
        with self._database.read() as connection:
            limit = _resolve(connection, as_of)
            row = connection.execute(
                sa.select(revisions)
                .where(
                    revisions.c.fact_id == fact_id,
                    revisions.c.sequence <= (_LAST_SEQUENCE if limit is None else limit),
                )
                .order_by(revisions.c.sequence.desc())
                .limit(1)
            ).one_or_none()
            if row is None:
                raise FactNotFound(fact_id)
            return to_revision(row)

    def latest(self, fact_ids: Iterable[str]) -> builtins.list[Revision]:
        """Return the latest revisions of some facts, sorted by id; ids of no fact are left out."""
        wanted, found = sorted(set(fact_ids)), []
        own = sa.select(revisions).join(current, current.c.sequence == revisions.c.sequence)
        with self._database.read() as connection:
            for start in range(0, len(wanted), _BATCH):
                part = wanted[start : start + _BATCH]
                rows = connection.execute(own.where(current.c.fact_id.in_(part)))
                found += [to_revision(row) for row in rows]
        return sorted(found, key=lambda revision: revision.fact.id)

    def page(
        self,
        *,
        text: str = "",
        status: Status | None = "approved",
        kind: Kind | None = None,
        scope: str | Sequence[str] | None = None,
        tag: str | None = None,
        relation: str | None = None,
        valid_at: datetime | None = None,
        as_of: AsOf = None,
        order: Order | None = None,
        limit: int | None = 50,
        offset: int = 0,
    ) -> Page:
        """Return some of the facts that filters leave, and how many those are.

            page = store.page(text="tokyo", status=None, scope=["acme", "default"], offset=50)

        Args:
            text: keep facts that hold every one of these words, in names, relation, target,
                statement or questions; the last letters of a word may be missing. Text without any
                word finds nothing; the empty text keeps all.
            status: keep facts of this status; `None` keeps all.
            kind: keep facts of this kind; `None` keeps all.
            scope: keep facts that this scope, or one of these, sees: its own and those above;
                `None` keeps all.
            tag: keep facts that bear this tag.
            relation: keep facts of this relation.
            valid_at: keep facts that hold at this world time (zone-aware); `None` keeps all.
            as_of: the store as it was then: an instant or a sequence number.
            order: by `id`, `subject`, `newest` (what was changed last comes first) or `best` (the
                best match of `text`; where more than 10 000 match, that is `newest`); `None` is
                `best` with a text and `id` without.
            limit: the most facts on the page; `None` is no limit.
            offset: how many facts come before the page.

        Raises:
            InvalidInput: if one of them cannot be used.
        """
        with self._database.read() as connection:
            chosen = Selection(
                sequence=_resolve(connection, as_of), text=text, status=status, kind=kind,
                scope=scope, tag=tag, relations=self._alike(relation), valid_at=valid_at,
            )  # fmt: skip
            order = _feasible(connection, order or ("best" if text.strip() else "id"), text)
            rows = connection.execute(chosen.page(order, limit, offset))
            found = tuple(to_revision(row) for row in rows)
            if found and (limit is None or len(found) < limit):
                return Page(revisions=found, total=offset + len(found))
            return Page(revisions=found, total=connection.execute(chosen.count()).scalar_one())

    def counts(
        self,
        facet: Facet,
        *,
        text: str = "",
        status: Status | None = "approved",
        kind: Kind | None = None,
        scope: str | Sequence[str] | None = None,
        tag: str | None = None,
        relation: str | None = None,
        valid_at: datetime | None = None,
        as_of: AsOf = None,
    ) -> dict[str, int]:
        """Return how many facts have each status, kind, scope, relation or tag, the most first.

        Relations and tags are named in their normalized form; facts without one are not counted.
        The filters are those of `page`.

        Raises:
            InvalidInput: if one of them cannot be used.
        """
        with self._database.read() as connection:
            chosen = Selection(
                sequence=_resolve(connection, as_of), text=text, status=status, kind=kind,
                scope=scope, tag=tag, relations=self._alike(relation), valid_at=valid_at,
            )  # fmt: skip
            counted: Counter[str] = Counter()
            for value, count in connection.execute(chosen.counts(facet)):
                for each in set(value.split("\n")) if facet == "tag" else [value]:
                    counted[each] += count
        counted.pop("", None)
        return dict(sorted(counted.items(), key=lambda each: (-each[1], each[0])))

    def search(
        self,
        text: str,
        *,
        limit: int = 20,
        status: Status | None = "approved",
        scope: str | None = None,
        valid_at: datetime | None = None,
        as_of: AsOf = None,
    ) -> builtins.list[Revision]:
        """Return facts that hold every word of `text`, the best first.

        Text without any word finds nothing. The arguments are those of `page`.
        """
        if not text.strip():
            return []
        return self._read(
            "best", limit, 0, as_of, text=text, status=status, scope=scope, valid_at=valid_at
        )

    def history(self, fact_id: str) -> builtins.list[Revision]:
        """Return all revisions of a fact, the oldest first.

        Raises:
            FactNotFound: if there is no such fact.
        """
        of_fact = sa.select(revisions).where(revisions.c.fact_id == fact_id)
        with self._database.read() as connection:
            rows = connection.execute(of_fact.order_by(revisions.c.sequence))
            found = [to_revision(row) for row in rows]
        if not found:
            raise FactNotFound(fact_id)
        return found

    def changes(self, since: int) -> Iterator[Revision]:
        """Yield every revision after the sequence number `since`, in order."""
        while True:
            following = sa.select(revisions).where(revisions.c.sequence > since)
            with self._database.read() as connection:
                rows = connection.execute(following.order_by(revisions.c.sequence).limit(_BATCH))
                batch = [to_revision(row) for row in rows]
            yield from batch
            if len(batch) < _BATCH:
                return
            since = batch[-1].sequence

    def latest_changes(self, limit: int = 50, offset: int = 0) -> builtins.list[Revision]:
        """Return the latest revisions of all facts, the newest first."""
        newest = sa.select(revisions).order_by(revisions.c.sequence.desc())
        with self._database.read() as connection:
            rows = connection.execute(newest.limit(max(limit, 0)).offset(max(offset, 0)))
            return [to_revision(row) for row in rows]

    def list(
        self,
        *,
        status: Status | None = "approved",
        scope: str | None = None,
        valid_at: datetime | None = None,
        as_of: AsOf = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> builtins.list[Revision]:
        """Return the latest revision of each fact, sorted by id.

        The arguments are those of `page`.

        Raises:
            InvalidInput: if one of them cannot be used.
        """
        return self._read("id", limit, offset, as_of, status=status, scope=scope, valid_at=valid_at)

    def export_pack(
        self,
        *,
        scope: str | None = None,
        valid_at: datetime | None = None,
        as_of: AsOf = None,
        written_as: PackFormat = "jsonl",
    ) -> Iterator[str]:
        """Yield the approved facts as the lines of a pack, sorted by id, without line ends.

        The same facts give the same bytes. The other arguments are those of `list`.
        """
        facts = [r.fact for r in self.list(scope=scope, valid_at=valid_at, as_of=as_of)]
        return _WRITERS[written_as](facts)

    def _alike(self, relation: str | None) -> Sequence[str]:
        """Return every name of a relation."""
        return () if relation is None else (relation,)

    def _read(
        self, order: Order, limit: int | None, offset: int, as_of: AsOf, **filters: Any
    ) -> builtins.list[Revision]:
        with self._database.read() as connection:
            chosen = Selection(sequence=_resolve(connection, as_of), **filters)
            order = _feasible(connection, order, filters.get("text", ""))
            rows = connection.execute(chosen.page(order, limit, offset))
            return [to_revision(row) for row in rows]


def _feasible(connection: sa.Connection, order: Order, text: str) -> Order:
    return "newest" if order == "best" and search.too_many(connection, text) else order


def _resolve(connection: sa.Connection, as_of: AsOf) -> int | None:
    """Return the number of the last revision that is seen; `None`: of them all."""
    if as_of is None:
        return None
    newest = int(connection.execute(_NEWEST).scalar_one())
    asked = _sequence_at(connection, as_of) if isinstance(as_of, datetime) else max(0, as_of)
    return None if asked >= newest else asked


def _sequence_at(connection: sa.Connection, instant: datetime) -> int:
    return int(connection.execute(_NEWEST_AT, {"at": to_micros(instant)}).scalar_one())
