"""How often each fact is used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of counts."""
    op.create_table(
        "usage",
        sa.Column("fact_id", sa.Text, primary_key=True),
        sa.Column("fired", sa.BigInteger, nullable=False),
        sa.Column("near", sa.BigInteger, nullable=False),
        sa.Column("down", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger),
    )
