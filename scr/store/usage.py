"""How often each fact is used. Beside the history: counting changes nothing that was decided."""

import builtins
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from scr.records import Record, Trace
from scr.store.database import Database
from scr.store.schema import from_micros, to_micros
from scr.store.schema import usage as table

NEAR = 0.2
"""Probability from which the best refused fact was nearly used."""


class Used(Record):
    """How often a fact was used."""

    fact_id: str
    fired: int
    """Prompts that it was put into."""

    near: int
    """Questions for which it was the best refused one, and not improbable."""

    down: int
    """Answers with it that somebody marked as bad."""

    last: datetime | None
    """When it was put into a prompt last."""


class Usage:
    """The counts in a store's file."""

    def __init__(self, database: Database) -> None:
        """Keep them in `database`."""
        self._database = database

    def of(self, fact_id: str) -> Used | None:
        """Return the counts of one fact; `None` where it has none."""
        own = sa.select(table).where(table.c.fact_id == fact_id)
        with self._database.read() as connection:
            row = connection.execute(own).one_or_none()
        return None if row is None else _to_used(row)

    def list(self) -> builtins.list[Used]:
        """Return the counts of every fact that has any, the most used first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(table).order_by(table.c.fired.desc(), table.c.fact_id)
            )
            return [_to_used(row) for row in rows]

    def mark_down(self, fact_ids: Iterable[str]) -> None:
        """Count a bad answer for each of the facts that it was given with."""
        with self._database.write() as connection:
            add(connection, {fact_id: Counter(down=1) for fact_id in fact_ids}, {})


def count(connection: sa.Connection, traces: Sequence[Trace]) -> None:
    """Count the facts of some requests."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    last: dict[str, int] = {}
    for trace in traces:
        for fact_id in trace.injected:
            counts[fact_id]["fired"] += 1
            last[fact_id] = max(to_micros(trace.at), last.get(fact_id, 0))
        best = trace.runner_up
        if not trace.injected and best is not None and best.probability >= NEAR:
            counts[best.fact_id]["near"] += 1
    add(connection, counts, last)


def add(connection: sa.Connection, counts: "dict[str, Counter[str]]", last: dict[str, int]) -> None:
    """Add to the counts of facts; `last` holds when each was used last, in microseconds."""
    if not counts:
        return
    rows = [
        {
            "fact_id": fact_id,
            "fired": found["fired"],
            "near": found["near"],
            "down": found["down"],
            "last": last.get(fact_id),
        }
        for fact_id, found in counts.items()
    ]
    new = insert(table)
    old, given = table.c, new.excluded
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["fact_id"],
            set_={
                "fired": old.fired + given.fired,
                "near": old.near + given.near,
                "down": old.down + given.down,
                "last": sa.func.coalesce(given.last, old.last),
            },
        ),
        rows,
    )


def forget(connection: sa.Connection, fact_id: str) -> None:
    """Delete the counts of a fact."""
    connection.execute(sa.delete(table).where(table.c.fact_id == fact_id))


def _to_used(row: "sa.Row[tuple[object, ...]]") -> Used:
    return Used(
        fact_id=row.fact_id,
        fired=row.fired,
        near=row.near,
        down=row.down,
        last=None if row.last is None else from_micros(row.last),
    )
