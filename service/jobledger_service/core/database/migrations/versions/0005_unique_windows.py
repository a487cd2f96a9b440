"""Until when jobs that have ended keep their unique keys."""

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; no job that has ended has a key yet."""
    op.add_column("unique_keys", Column("kept_until", BigInteger))
