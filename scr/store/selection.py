"""Which facts are meant: filters, orders and pages as SQL, over narrow rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa

from scr.errors import InvalidInput
from scr.facts import Kind, Revision, Status, normalize, scopes_above
from scr.records import Record, make_query
from scr.store import search
from scr.store.schema import LISTED, current, revisions, to_micros

Order = Literal["id", "subject", "newest", "best"]
"""By id; by subject; what was changed last first; the best match of the words that were sought."""

Facet = Literal["status", "kind", "scope", "relation", "tag"]
"""What facts can be counted by."""


class Page(Record):
    """Some of the facts that were asked for."""

    revisions: tuple[Revision, ...]
    """The latest revision of each."""

    total: int
    """How many facts there are on all pages together."""


class Selection:
    """The latest revisions that some filters leave, as narrow rows; see `Reader.page` for them."""

    def __init__(
        self,
        *,
        sequence: int | None,
        status: Status | None = "approved",
        kind: Kind | None = None,
        scope: str | Sequence[str] | None = None,
        relations: Sequence[str] = (),
        tag: str | None = None,
        text: str = "",
        valid_at: datetime | None = None,
    ) -> None:
        """Choose facts; `sequence` is the number of the last revision seen, `None` sees all.

        Raises:
            InvalidInput: a scope or a time cannot be used.
        """
        rows = current if sequence is None else _as_of(sequence)
        self._rows, self._where, self._text = rows, list[sa.ColumnElement[bool]](), text.strip()
        if status is not None:
            self._where.append(rows.c.status == status)
        if kind is not None:
            self._where.append(rows.c.kind == kind)
        if scope is not None:
            given = [scope] if isinstance(scope, str) else scope
            checked = [make_query(text="", scope=each).scope for each in given]
            seen = {above for each in checked for above in scopes_above(each)}
            self._where.append(rows.c.scope.in_(sorted(seen)))
        if relations:
            self._where.append(rows.c.relation.in_(sorted(map(normalize, relations))))
        if tag is not None:
            self._where.append(rows.c.tags.contains(f"\n{normalize(tag)}\n", autoescape=True))
        if valid_at is not None:
            when, start, end = to_micros(valid_at), rows.c.valid_start, rows.c.valid_end
            self._where.append(sa.or_(start.is_(None), start <= when))
            self._where.append(sa.or_(end.is_(None), end > when))

    def page(self, order: Order, limit: int | None, offset: int) -> sa.Select[Any]:
        """Return the statement that reads the facts of a page, whole and in their order.

        Raises:
            InvalidInput: `limit` or `offset` is negative, or `best` has no words to go by.
        """
        if (limit is not None and limit < 0) or offset < 0:
            raise InvalidInput(f"limit and offset must be at least 0, not {limit} and {offset}")
        if order == "best" and not self._text:
            raise InvalidInput("the best matches of no words: give a text, or another order")
        rows = self._rows
        keys: list[sa.ColumnElement[Any]] = [rows.c[name] for name in _KEYS[order]]
        if order == "best":
            keys = [search.DISTANCE]
        last: sa.ColumnElement[Any] = rows.c.sequence
        if order == "newest":  # full text is read in this order, if it is asked by its own column
            last = (search.PLACE if self._text else rows.c.sequence).desc()
        # Facts are wide: only those of the page are read.
        narrow = self._chosen(
            rows.c.sequence, *(key.label(f"key{number}") for number, key in enumerate(keys))
        )
        found = narrow.order_by(*keys, last).limit(limit).offset(offset).subquery("found")
        again = [found.c[f"key{number}"] for number in range(len(keys))]
        last = found.c.sequence.desc() if order == "newest" else found.c.sequence
        return (
            sa.select(revisions)
            .join(found, found.c.sequence == revisions.c.sequence)
            .order_by(*again, last)
        )

    def count(self) -> sa.Select[Any]:
        """Return the statement that counts the facts of all pages."""
        return self._chosen(sa.func.count())

    def counts(self, facet: Facet) -> sa.Select[Any]:
        """Return the statement that counts the facts by a column; tags stand together."""
        column = self._rows.c["tags" if facet == "tag" else facet]
        return self._chosen(column, sa.func.count()).group_by(column)

    def _chosen(self, *columns: Any) -> sa.Select[Any]:
        chosen = sa.select(*columns).select_from(self._rows)
        if self._text:
            chosen = search.matching(chosen, self._rows.c.sequence, self._text)
        return chosen.where(*self._where)


_KEYS: Final[Mapping[Order, tuple[str, ...]]] = {
    "id": ("fact_id",),
    "subject": ("subject", "fact_id"),
    "newest": (),
    "best": (),
}
"""Columns that an order goes by."""


def _as_of(sequence: int) -> sa.FromClause:
    """Return what `current` held when `sequence` was the number of the latest change.

    Written so that a page of few facts is found by walking an index, not by grouping everything.
    """
    later = revisions.alias("later")
    columns = [revisions.c[name] for name in ("fact_id", "sequence", *LISTED)]
    changed_again = (
        sa.select(later.c.sequence)
        .where(
            later.c.fact_id == revisions.c.fact_id,
            later.c.sequence > revisions.c.sequence,
            later.c.sequence <= sequence,
        )
        .exists()
    )
    chosen = sa.select(*columns).where(revisions.c.sequence <= sequence, ~changed_again)
    return chosen.subquery("then_current")
