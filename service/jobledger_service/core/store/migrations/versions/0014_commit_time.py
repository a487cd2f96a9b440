"""The time of the newest commit, in the row that commits take turns at: no commit has an earlier one."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0011"


def upgrade() -> None:
    """Add the column, with the newest time that there is."""
    op.add_column("ledger", sa.Column("commit_time", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE ledger SET commit_time = COALESCE((SELECT max(commit_time) FROM events), 0)")
