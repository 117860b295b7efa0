"""Migrations of the store's schema, packaged with it and run by `upgrade`."""

from pathlib import Path

import sqlalchemy as sa


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema behind `connection` up to the newest, in the caller's transaction."""
    # Alembic is slow to import, and only a new or an old store needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    here = str(Path(__file__).parent).replace("%", "%%")  # ConfigParser expands `%`
    config.set_main_option("script_location", here)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
