"""Traces: one row for each request, kept for a while and readable by any process."""

import json
from datetime import datetime, timedelta

import sqlalchemy as sa

from scr.errors import InvalidInput, TraceNotFound
from scr.records import Trace
from scr.store.schema import MICROSECOND, DamagedRow, to_micros
from scr.store.schema import traces as table

_DAY = timedelta(days=1) // MICROSECOND


def save(connection: sa.Connection, trace: Trace) -> None:
    """Keep `trace`."""
    # `json` and not pydantic: a query may hold a lone surrogate, which only `json` escapes.
    row = {
        "id": trace.id,
        "at": to_micros(trace.at),
        "trace": json.dumps(trace.model_dump(mode="json")),
    }
    connection.execute(sa.insert(table).values(row))


def prune(connection: sa.Connection, now: datetime, retention_days: float) -> None:
    """Delete the traces that are `retention_days` old; 0 deletes all."""
    connection.execute(sa.delete(table).where(_is_over(now, retention_days)))


def any_over(connection: sa.Connection, now: datetime, retention_days: float) -> bool:
    """Whether `prune` would delete any."""
    found = sa.select(table.c.id).where(_is_over(now, retention_days)).limit(1)
    return connection.execute(found).first() is not None


def forget(connection: sa.Connection, fact_id: str) -> None:
    """Delete the traces of requests that a fact was considered for."""
    named = table.c.trace.contains(json.dumps(fact_id), autoescape=True)
    connection.execute(sa.delete(table).where(named))


def get(connection: sa.Connection, trace_id: str) -> Trace:
    """Return the trace of this id, or raise `TraceNotFound`."""
    row = connection.execute(
        sa.select(table.c.trace).where(table.c.id == trace_id)
    ).scalar_one_or_none()
    if row is None:
        raise TraceNotFound(trace_id)
    return _to_trace(row)


def latest(connection: sa.Connection, limit: int) -> list[Trace]:
    """Return the newest traces, the newest first."""
    if limit < 0:
        raise InvalidInput(f"the limit must be at least 0, not {limit}")
    rows = connection.execute(
        sa.select(table.c.trace).order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)
    )
    return [_to_trace(row.trace) for row in rows]


def _is_over(now: datetime, retention_days: float) -> sa.ColumnElement[bool]:
    if retention_days == 0:  # even those that a clock which stepped back put in the future
        return sa.true()
    return table.c.at <= to_micros(now) - retention_days * _DAY


def _to_trace(text: str) -> Trace:
    try:
        return Trace.model_validate(json.loads(text))
    except (TypeError, ValueError) as error:
        raise DamagedRow("a row of `traces` holds no trace") from error
