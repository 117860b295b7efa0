"""The store's tables, and how records become rows and back.

Tables only: everything that is SQLite's alone lives in `database.py` and `search.py`. The
migrations under `migrations/` make these tables; a test keeps the two equal.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from pydantic import ValidationError

from scr.errors import InvalidInput
from scr.facts import Fact, Revision, normalize

SCHEMA = "0007"
"""The newest migration; a store with a later one was written by a newer version of SCR."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class DamagedRow(Exception):
    """A row does not hold what a store writes there."""


metadata = sa.MetaData()

_NAMES = ("kind", "subject", "relation", "tags")

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("fact_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("previous_status", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("fact", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("rank", sa.Text, nullable=False),
    sa.Column("valid_start", sa.BigInteger),
    sa.Column("valid_end", sa.BigInteger),
    sa.Column("slot_subject", sa.Text),
    sa.Column("slot_relation", sa.Text),
    sa.Column("content_hash", sa.Text),
    *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in _NAMES),
    sa.Index("revisions_by_fact", "fact_id", "sequence"),
    sa.Index("revisions_by_slot", "slot_subject", "slot_relation", "scope"),
    sa.Index("revisions_by_content", "content_hash"),
    sa.Index("revisions_by_time", "at"),
)
"""Every change, never overwritten. Times are microseconds since 1970; the slot columns are null
where a fact fills none, and only there `content_hash` tells two facts apart. What facts are listed
by (kind, subject, relation, tags) is kept in the form that `normalize` gives it, each tag between
two line ends."""

current = sa.Table(
    "current",
    metadata,
    sa.Column("fact_id", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in _NAMES),
    sa.Column("valid_start", sa.BigInteger),
    sa.Column("valid_end", sa.BigInteger),
    sa.Index("current_by_subject", "subject", "fact_id"),
)
"""The latest revision of each fact, with what it is listed by: derived from `revisions` and changed
together with it. Its rows are small, so that a store is listed without reading its facts."""

LISTED = ("status", "scope", *_NAMES, "valid_start", "valid_end")
"""Columns that both tables have."""

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("trace", sa.Text, nullable=False),
    sa.Index("traces_by_time", "at"),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger),
)
"""API keys of the server: the SHA-256 of each secret, never the secret."""

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("fact_id", sa.Text, primary_key=True),
    sa.Column("fired", sa.BigInteger, nullable=False),
    sa.Column("near", sa.BigInteger, nullable=False),
    sa.Column("down", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger),
)
"""How often each fact is used: no part of the history, and none of its sequence."""

people = sa.Table(
    "people",
    metadata,
    sa.Column("folded", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("removed", sa.BigInteger),
)
"""Who signs in at the desk with a password: its argon2 hash, and when that was set last."""

filters = sa.Table(
    "filters",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("query", sa.Text, nullable=False),
)
"""Searches that people of the desk keep, each their own."""

settled = sa.Table(
    "settled",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("segment", sa.LargeBinary, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)
"""Parts of packs that the store holds, by digest: see `settled.py`."""

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""What was chosen when the store was made, as JSON."""


def to_micros(when: datetime) -> int:
    """Return `when` in microseconds since 1970.

    Raises:
        InvalidInput: if `when` has no zone.
    """
    if when.tzinfo is None:
        raise InvalidInput(f"{when} has no time zone; give it one, such as datetime.UTC")
    return (when - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment that lies `micros` microseconds after 1970, in UTC.

    Raises:
        DamagedRow: if there is no such moment; the number may come from a damaged file.
    """
    try:
        return EPOCH + micros * MICROSECOND
    except (TypeError, ValueError, OverflowError) as error:
        raise DamagedRow(f"{micros!r} is no time") from error


def to_row(revision: Revision, content_hash: str | None) -> dict[str, object]:
    """Return the row of `revisions` that holds `revision`."""
    fact = revision.fact
    start, end, slot = fact.validity.start, fact.validity.end, fact.slot
    return {
        "sequence": revision.sequence,
        "fact_id": fact.id,
        "action": revision.action,
        "previous_status": revision.previous_status,
        "status": revision.status,
        "at": to_micros(revision.at),
        "by": revision.by,
        "why": revision.why,
        "fact": fact.model_dump_json(),
        "scope": fact.scope,
        "rank": fact.rank,
        "valid_start": to_micros(start) if start else None,
        "valid_end": to_micros(end) if end else None,
        "slot_subject": slot.subject if slot else None,
        "slot_relation": slot.relation if slot else None,
        "content_hash": content_hash,
        "kind": fact.kind,
        "subject": normalize(fact.subject),
        "relation": normalize(fact.relation),
        "tags": "".join(f"\n{normalize(tag)}" for tag in fact.tags) + "\n" if fact.tags else "",
    }


def to_revision(row: "sa.Row[tuple[object, ...]]") -> Revision:
    """Return the revision that a row of `revisions` holds.

    Raises:
        DamagedRow: if it holds none.
    """
    columns = row._mapping
    try:
        return Revision.model_validate(
            {
                "sequence": columns["sequence"],
                "fact": Fact.model_validate_json(columns["fact"]),
                "action": columns["action"],
                "previous_status": columns["previous_status"],
                "status": columns["status"],
                "at": from_micros(columns["at"]),
                "by": columns["by"],
                "why": columns["why"],
            }
        )
    except ValidationError as error:
        raise DamagedRow("a row of `revisions` holds no revision") from error
