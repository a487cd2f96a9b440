"""A job keeps the trace that it was created in, for its workers to go on with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; jobs from before have no trace."""
    op.add_column("jobs", sa.Column("traceparent", sa.Text()))
