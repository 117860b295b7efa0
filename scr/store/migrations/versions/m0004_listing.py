"""What facts are listed by, in columns: kind, subject, relation and tags."""

import json

import sqlalchemy as sa
from alembic import op

from scr.facts import normalize
from scr.store.schema import DamagedRow

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAMES = ("kind", "subject", "relation", "tags")
_BATCH = 1_000


def upgrade() -> None:
    """Add the columns to the revisions, and copies of them to the latest ones."""
    for name in _NAMES:
        column = sa.Column(name, sa.Text, nullable=False, server_default="")
        op.add_column("revisions", column)
    connection = op.get_bind()
    _fill(connection)
    op.create_table(
        "listed",
        sa.Column("fact_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in _NAMES),
        sa.Column("valid_start", sa.BigInteger),
        sa.Column("valid_end", sa.BigInteger),
    )
    connection.execute(
        sa.text(
            "INSERT INTO listed (fact_id, sequence, status, scope, kind, subject, relation, tags, "
            "valid_start, valid_end) SELECT r.fact_id, r.sequence, r.status, r.scope, r.kind, "
            "r.subject, r.relation, r.tags, r.valid_start, r.valid_end "
            "FROM revisions AS r JOIN current AS c ON c.sequence = r.sequence"
        )
    )
    op.drop_table("current")
    op.rename_table("listed", "current")
    op.create_index("current_by_subject", "current", ["subject", "fact_id"])


def _fill(connection: sa.Connection) -> None:
    table = sa.table("revisions", sa.column("sequence"), *map(sa.column, ("fact", *_NAMES)))
    fill = (
        sa.update(table)
        .where(table.c.sequence == sa.bindparam("of"))
        .values({name: sa.bindparam(f"its_{name}") for name in _NAMES})
    )
    chosen = sa.select(table.c.sequence, table.c.fact).order_by(table.c.sequence).limit(_BATCH)
    last = 0
    while rows := connection.execute(chosen.where(table.c.sequence > last)).all():
        connection.execute(fill, [{"of": row.sequence, **_columns(row.fact)} for row in rows])
        last = rows[-1].sequence


def _columns(text: str) -> dict[str, str]:
    try:
        fact = json.loads(text)
        tags = [normalize(tag) for tag in fact["tags"]]
        return {
            "its_kind": fact["kind"],
            "its_subject": normalize(fact["subject"]),
            "its_relation": normalize(fact["relation"]),
            "its_tags": "".join(f"\n{tag}" for tag in tags) + "\n" if tags else "",
        }
    except (TypeError, ValueError, KeyError) as error:
        raise DamagedRow("a row of `revisions` holds no fact") from error
