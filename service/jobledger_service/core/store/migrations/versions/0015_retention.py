"""Indexes of what is due: limits with a slot for which jobs wait, limits of jobs by age, and running totals by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the indexes."""
    free = sa.text("waiting > 0 AND (most IS NULL OR running < most)")
    op.create_index("limits_free", "limits", ["limit_key"], sqlite_where=free, postgresql_where=free)
    op.create_index(
        "limits_passing",
        "limits",
        ["set_time"],
        sqlite_where=sa.text("by_job = 1 OR most IS NULL"),
        postgresql_where=sa.text("by_job OR most IS NULL"),
    )
    op.create_index("running_totals_by_hour", "running_totals", ["hour"])
