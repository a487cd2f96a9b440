"""Ceilings of limits, which operators set, and an index for the keys of an owner."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column and the index; until now only operators set limits, so each is a ceiling."""
    op.add_column("limits", Column("ceiling", Integer))
    op.execute("UPDATE limits SET ceiling = max_running WHERE is_set")
    op.create_index("api_keys_by_owner", "api_keys", ["owner", "create_time", "key_id"])
