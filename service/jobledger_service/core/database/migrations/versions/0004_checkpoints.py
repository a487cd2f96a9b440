"""What an attempt at a chunk keeps for the next one."""

from alembic import op
from sqlalchemy import Column, LargeBinary

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; no chunk has a checkpoint."""
    op.add_column("chunks", Column("checkpoint", LargeBinary))
