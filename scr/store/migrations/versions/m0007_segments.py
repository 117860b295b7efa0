"""Segments of packs: what was kept of packs before knows none, and is made again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of digests anew; without them a plan is the same, and slower once."""
    op.drop_table("settled")
    op.create_table(
        "settled",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("segment", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
