"""Concurrency limits: the limits, the slots that jobs hold, and the jobs that wait for one."""

import sqlalchemy as sa
from alembic import op

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table, the columns and the index of parked jobs, and leave parked chunks out of those that wait."""
    op.create_table(
        "limits",
        sa.Column("limit_key", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=True),
        sa.Column("running", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("by_job", sa.Boolean(), nullable=False),
        sa.Column("set_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("limit_key"),
    )
    op.add_column("jobs", sa.Column("slots", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("parked_for", KEY, nullable=True))
    op.create_index(
        "jobs_parked",
        "jobs",
        ["parked_for", sa.text("priority DESC"), "create_time", "job_key"],
        unique=False,
        sqlite_where=sa.text("parked_for IS NOT NULL"),
        postgresql_where=sa.text("parked_for IS NOT NULL"),
    )
    op.add_column("chunks", sa.Column("parked", sa.SmallInteger(), nullable=False, server_default="0"))
    op.drop_index("chunks_waiting", "chunks")
    waiting = sa.text("state = 'PENDING' AND not_before IS NULL AND parked = 0")
    op.create_index(
        "chunks_waiting",
        "chunks",
        ["owner", "kind", sa.text("priority DESC"), "create_time", "job_key", "chunk_index"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.drop_index("chunks_of_service", "chunks")
    of_service = sa.text(f"{waiting.text} AND kind IN ('jobledger.artifacts', 'jobledger.bulk')")
    op.create_index(
        "chunks_of_service",
        "chunks",
        ["owner", "kind", "create_time"],
        unique=False,
        sqlite_where=of_service,
        postgresql_where=of_service,
    )
