"""What packs said that the store holds."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of digests."""
    op.create_table(
        "settled",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("segment", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
