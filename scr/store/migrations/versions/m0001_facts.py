"""Revisions, their current state, full text, traces and the store's settings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table of the first schema."""
    _make_revisions()
    op.create_table(
        "current",
        sa.Column("fact_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_table(
        "traces",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("trace", sa.Text, nullable=False),
    )
    op.create_index("traces_by_time", "traces", ["at"])
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE words USING fts5("
            "names, relation, target, statement, questions, "
            "content='', tokenize='unicode61 remove_diacritics 2')"
        )


def _make_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
        ),
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
    )
    op.create_index("revisions_by_fact", "revisions", ["fact_id", "sequence"])
    op.create_index("revisions_by_slot", "revisions", ["slot_subject", "slot_relation", "scope"])
    op.create_index("revisions_by_content", "revisions", ["content_hash"])
    op.create_index("revisions_by_time", "revisions", ["at"])
