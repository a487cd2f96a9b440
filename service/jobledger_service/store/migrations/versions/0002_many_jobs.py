"""What asking about many jobs needs: words, counts, hourly sums, tombstones, the audit trail, and runs over many."""

import sqlalchemy as sa
from alembic import op

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.add_column("jobs", sa.Column("retry_time", sa.BigInteger()))
    # Of jobs that were retried before, the last change is the best that is known.
    op.execute("UPDATE jobs SET retry_time = update_time WHERE retry_count > 0")
    op.create_index("jobs_by_kind", "jobs", ["owner", "kind", "state", "create_time", "job_key"], unique=False)
    op.create_table(
        "job_words",
        sa.Column("number", NUMBER, sa.Identity(), nullable=False),
        sa.Column("job_key", KEY, sa.ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("job_key"),
    )
    op.create_table(
        "counts",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("chunks_pending", sa.BigInteger(), nullable=False),
        sa.Column("chunks_processing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "state"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO counts (owner, kind, state, jobs, chunks_pending, chunks_processing)"
        " SELECT owner, kind, state, count(*), sum(chunks_pending), sum(chunks_processing)"
        " FROM jobs GROUP BY owner, kind, state"
    )
    op.create_table(
        "rollups",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "hour", "kind", "measure", "bucket"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "running_totals",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "hour"),
    )
    op.create_table(
        "tombstones",
        sa.Column("position", NUMBER, autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index(
        "tombstones_by_create_time", "tombstones", ["owner", "create_time", "job_key", "position"], unique=False
    )
    op.add_column("events", sa.Column("previous", sa.LargeBinary()))
    op.create_table(
        "audit",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("job_key", KEY, sa.ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False),
        sa.Column("cursors", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_key"),
        sqlite_with_rowid=False,
    )
    of_service = sa.text(
        "state = 'PENDING' AND not_before IS NULL AND kind IN ('jobledger.artifacts', 'jobledger.bulk')"
    )
    op.create_index(
        "chunks_of_service",
        "chunks",
        ["owner", "kind", "create_time"],
        unique=False,
        sqlite_where=of_service,
        postgresql_where=of_service,
    )
