"""The first schema: jobs, chunks, events, the ledger's counter, and requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the five tables and their indexes."""
    op.create_table(
        "events",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("before", JSON, nullable=True),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("events_by_job", "events", ["job_key", "position"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("retry_policy", sa.Text(), nullable=False),
        sa.Column("failure_policy", sa.Text(), nullable=False),
        sa.Column("stages", sa.Text(), nullable=True),
        sa.Column("input", sa.LargeBinary(), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("labels", JSON, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("chunks_pending", sa.Integer(), nullable=False),
        sa.Column("chunks_processing", sa.Integer(), nullable=False),
        sa.Column("chunks_completed", sa.Integer(), nullable=False),
        sa.Column("chunks_failed", sa.Integer(), nullable=False),
        sa.Column("chunks_cancelled", sa.Integer(), nullable=False),
        sa.Column("work_total", sa.BigInteger(), nullable=False),
        sa.Column("work_done", sa.BigInteger(), nullable=False),
        sa.Column("items_total", sa.BigInteger(), nullable=False),
        sa.Column("items_completed", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("stage_percent", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("rate_since", sa.BigInteger(), nullable=True),
        sa.Column("rate_at", sa.BigInteger(), nullable=True),
        sa.Column("rate_items", sa.Double(), nullable=True),
        sa.Column("rate_work", sa.Double(), nullable=True),
        sa.Column("stage_timings", sa.Text(), nullable=True),
        sa.Column("artifacts", sa.Text(), nullable=True),
        sa.Column("declared_result", sa.Text(), nullable=False),
        sa.Column("first_failure", sa.Text(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=False),
        sa.Column("cancel_deadline", sa.BigInteger(), nullable=True),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("expire_time", sa.BigInteger(), nullable=True),
        sa.Column("expires_by_rule", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "(end_time IS NOT NULL) = (state IN ('CANCELLED', 'COMPLETED', 'FAILED'))", name="end_time_when_ended"
        ),
        sa.CheckConstraint("failure_policy IN ('RUN_ALL', 'FAIL_FAST')", name="failure_policy_known"),
        sa.CheckConstraint("state <> 'FAILED' OR first_failure IS NOT NULL", name="failed_for_a_reason"),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETED', 'FAILED', 'CANCELLED')", name="state_known"
        ),
        sa.CheckConstraint(
            "chunks_pending >= 0 AND chunks_processing >= 0 AND chunks_completed >= 0 AND chunks_failed >= 0 AND chunks_cancelled >= 0",
            name="chunks_not_negative",
        ),
        sa.CheckConstraint("percent BETWEEN 0 AND 100", name="percent_in_range"),
        sa.CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
        sa.CheckConstraint("revision >= 1 AND retry_count >= 0", name="revision_counts"),
        sa.CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
        sa.CheckConstraint(
            "work_done BETWEEN 0 AND work_total AND items_completed BETWEEN 0 AND items_total", name="sums_in_range"
        ),
        sa.PrimaryKeyConstraint("job_key"),
    )
    op.create_index("jobs_by_create_time", "jobs", ["owner", "create_time", "job_key"], unique=False)
    op.create_index(
        "jobs_by_end_time",
        "jobs",
        ["owner", sa.text("coalesce(end_time, 9223372036854775807)"), "create_time", "job_key"],
        unique=False,
    )
    op.create_index("jobs_by_priority", "jobs", ["owner", "priority", "create_time", "job_key"], unique=False)
    op.create_index("jobs_by_state", "jobs", ["owner", "state", "create_time", "job_key"], unique=False)
    op.create_index("jobs_by_update_time", "jobs", ["owner", "update_time", "create_time", "job_key"], unique=False)
    op.create_index(
        "jobs_cancelling",
        "jobs",
        ["cancel_deadline"],
        unique=False,
        sqlite_where=sa.text("state = 'CANCELLING'"),
        postgresql_where=sa.text("state = 'CANCELLING'"),
    )
    op.create_index(
        "jobs_expiring",
        "jobs",
        ["expire_time"],
        unique=False,
        sqlite_where=sa.text("expire_time IS NOT NULL"),
        postgresql_where=sa.text("expire_time IS NOT NULL"),
    )
    op.create_table(
        "ledger",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("trimmed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one = 1", name="one_row"),
        sa.CheckConstraint("trimmed BETWEEN 0 AND position", name="trimmed_in_range"),
        sa.PrimaryKeyConstraint("one"),
    )
    op.create_table(
        "chunks",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=True),
        sa.Column("first_item", sa.BigInteger(), nullable=True),
        sa.Column("last_item", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_end", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("stage_percent", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("items_completed", sa.BigInteger(), nullable=False),
        sa.Column("stage_time", sa.BigInteger(), nullable=True),
        sa.Column("artifacts", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("lease_expire_time", sa.BigInteger(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(lease_expire_time IS NOT NULL) = (state = 'PROCESSING')", name="lease_when_processing"),
        sa.CheckConstraint(
            "state IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')", name="state_known"
        ),
        sa.CheckConstraint("attempt >= 0 AND fence >= 0 AND items_completed >= 0", name="counts_not_negative"),
        sa.CheckConstraint("done BETWEEN 0 AND 1000000", name="done_in_range"),
        sa.CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
        sa.CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_key", "chunk_index"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "chunks_delayed",
        "chunks",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("not_before IS NOT NULL"),
        postgresql_where=sa.text("not_before IS NOT NULL"),
    )
    op.create_index(
        "chunks_leased",
        "chunks",
        ["lease_expire_time"],
        unique=False,
        sqlite_where=sa.text("state = 'PROCESSING'"),
        postgresql_where=sa.text("state = 'PROCESSING'"),
    )
    op.create_index(
        "chunks_waiting",
        "chunks",
        ["owner", "kind", sa.literal_column("priority DESC"), "create_time", "job_key", "chunk_index"],
        unique=False,
        sqlite_where=sa.text("state = 'PENDING' AND not_before IS NULL"),
        postgresql_where=sa.text("state = 'PENDING' AND not_before IS NULL"),
    )
    op.create_table(
        "requests",
        sa.Column("request_key", KEY, nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("request_key"),
    )
    op.create_index("requests_by_job", "requests", ["job_key"], unique=False)
    op.create_index("requests_by_time", "requests", ["create_time"], unique=False)
