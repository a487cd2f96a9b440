"""The lowest writer level, in the ledger's row: servers below it notice, write nothing more, and drain."""

import sqlalchemy as sa
from alembic import op

from jobledger_service.core.store.writer_level import raise_writer_level

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column, and name the first level that there is."""
    op.add_column("ledger", sa.Column("writer_level", sa.Integer(), nullable=False, server_default="0"))
    raise_writer_level(op.get_bind(), 1)
