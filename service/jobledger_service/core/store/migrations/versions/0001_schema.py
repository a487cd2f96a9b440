"""The schema: jobs, chunks and their ledger, and the tables of the features."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from jobledger_service.core.store.migrations.full_text import create_full_text

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OWNER = {
    "sqlite": "substr(job_key, 1, instr(job_key, '/') - 1)",
    "postgresql": "split_part(job_key, '/', 1)",
}

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables and indexes."""
    _create_jobs()
    _create_chunks()
    _create_ledger()
    _create_statistics()
    _create_access()
    _create_webhooks()
    create_full_text()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_key", KEY, nullable=False),
        *_required(sa.Text(), "owner", "job_id", "kind"),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        *_required(sa.Text(), "retry_policy", "failure_policy"),
        sa.Column("stages", sa.Text()),
        sa.Column("input", sa.LargeBinary()),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("labels", JSON),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        *_required(
            sa.Integer(),
            "retry_count",
            "chunks_pending",
            "chunks_processing",
            "chunks_completed",
            "chunks_failed",
            "chunks_cancelled",
        ),
        *_required(sa.BigInteger(), "work_total", "work_done", "items_total", "items_completed"),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("stage_percent", sa.Double()),
        sa.Column("message", sa.Text(), nullable=False),
        *_optional(sa.BigInteger(), "rate_since", "rate_at"),
        *_optional(sa.Double(), "rate_items", "rate_work"),
        sa.Column("stage_timings", sa.Text()),
        sa.Column("artifacts_revision", sa.BigInteger()),
        sa.Column("declared_result", sa.Text(), nullable=False),
        sa.Column("first_failure", sa.Text()),
        sa.Column("cancel_reason", sa.Text(), nullable=False),
        *_optional(sa.BigInteger(), "cancel_deadline", "start_time"),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        *_optional(sa.BigInteger(), "end_time", "expire_time"),
        sa.Column("expires_by_rule", sa.Boolean(), nullable=False),
        sa.Column("retry_time", sa.BigInteger()),
        sa.Column("slots", sa.Text()),
        sa.Column("parked_for", KEY),
        sa.Column("traceparent", sa.Text()),
        sa.Column("import_time", sa.BigInteger()),
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
    op.create_index("jobs_by_create_time", "jobs", ["owner", "create_time", "job_key"])
    op.create_index("jobs_by_state", "jobs", ["owner", "state", "create_time", "job_key"])
    _partial_index("jobs_cancelling", "jobs", ["cancel_deadline"], "state = 'CANCELLING'")
    _partial_index("jobs_expiring", "jobs", ["expire_time"], "expire_time IS NOT NULL")
    op.create_index("jobs_by_kind", "jobs", ["owner", "kind", "state", "create_time", "job_key"])
    op.create_index("jobs_by_update_time", "jobs", ["owner", "state", "update_time", "create_time", "job_key"])
    op.create_index("jobs_by_end_time", "jobs", ["owner", "state", "end_time", "create_time", "job_key"])
    op.create_index("jobs_by_priority", "jobs", ["owner", "state", "priority", "create_time", "job_key"])
    _partial_index(
        "jobs_parked",
        "jobs",
        ["parked_for", sa.text("priority DESC"), "create_time", "job_key"],
        "parked_for IS NOT NULL",
    )
    op.create_table(
        "job_words",
        sa.Column("number", NUMBER, sa.Identity(), nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("job_key"),
    )
    op.create_table(
        "runs",
        sa.Column("job_key", KEY, nullable=False),
        *_required(sa.Text(), "cursors", "counts", "reported"),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_key"),
        sqlite_with_rowid=False,
    )


def _create_chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        *_required(sa.Text(), "owner", "kind"),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("input", sa.LargeBinary()),
        *_optional(sa.BigInteger(), "first_item", "last_item"),
        sa.Column("state", sa.Text(), nullable=False),
        *_required(sa.Integer(), "attempt", "max_attempts"),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_end", sa.Text()),
        *_required(sa.Text(), "task_id", "worker"),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("stage_percent", sa.Double()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("items_completed", sa.BigInteger(), nullable=False),
        sa.Column("stage_time", sa.BigInteger()),
        *_optional(sa.Text(), "artifacts", "error"),
        *_optional(sa.BigInteger(), "start_time", "end_time", "lease_expire_time", "not_before"),
        sa.Column("parked", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("(lease_expire_time IS NOT NULL) = (state = 'PROCESSING')", name="lease_when_processing"),
        sa.CheckConstraint(
            "state IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')", name="state_known"
        ),
        sa.CheckConstraint("attempt >= 0 AND fence >= 0 AND items_completed >= 0", name="counts_not_negative"),
        sa.CheckConstraint("done BETWEEN 0 AND 1000000", name="done_in_range"),
        sa.CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
        sa.CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
        sa.PrimaryKeyConstraint("job_key", "chunk_index"),
        sqlite_with_rowid=False,
    )
    _partial_index("chunks_delayed", "chunks", ["not_before"], "not_before IS NOT NULL")
    _partial_index("chunks_leased", "chunks", ["lease_expire_time"], "state = 'PROCESSING'")
    _partial_index(
        "chunks_waiting",
        "chunks",
        ["owner", "kind", sa.text("priority DESC"), "create_time", "job_key", "chunk_index"],
        "state = 'PENDING' AND not_before IS NULL AND parked = 0",
    )
    # The last: of two indexes that could serve a query SQLite, without statistics, takes the one that was made later.
    _partial_index(
        "chunks_of_service",
        "chunks",
        ["owner", "kind", "create_time"],
        "state = 'PENDING' AND not_before IS NULL AND parked = 0 AND kind IN ('jobledger.artifacts', 'jobledger.bulk')",
    )


def _create_ledger() -> None:
    op.create_table(
        "events",
        sa.Column("position", NUMBER, autoincrement=False, nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("before", JSON),
        sa.Column("previous", sa.LargeBinary()),
        sa.Column("artifacts", sa.Text()),
        sa.Column("artifacts_bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("events_by_job", "events", ["job_key", "position"])
    owner = sa.text(OWNER[op.get_bind().dialect.name])
    op.create_index("events_by_owner", "events", [owner, "position"])
    op.create_table(
        "artifact_versions",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("encoded", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "incarnation", "chunk_index", "revision"),
    )
    op.create_table(
        "ledger",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("token_secret", sa.LargeBinary(), nullable=False),
        *_required(sa.BigInteger(), "position", "trimmed", "commit_time"),
        sa.Column("writer_level", sa.Integer(), nullable=False),
        sa.CheckConstraint("one = 1", name="one_row"),
        sa.CheckConstraint("trimmed BETWEEN 0 AND position", name="trimmed_in_range"),
        sa.PrimaryKeyConstraint("one"),
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
    op.create_index("tombstones_by_create_time", "tombstones", ["owner", "create_time", "job_key", "position"])
    op.create_table(
        "audit",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "requests",
        *_required(KEY, "request_key", "job_key"),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("request_key"),
    )
    op.create_index("requests_by_job", "requests", ["job_key"])
    op.create_index("requests_by_time", "requests", ["create_time"])


def _create_statistics() -> None:
    op.create_table(
        "counts",
        *_required(sa.Text(), "owner", "kind", "state"),
        *_required(sa.BigInteger(), "jobs", "chunks_pending", "chunks_processing"),
        sa.PrimaryKeyConstraint("owner", "kind", "state"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollups",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        *_required(sa.Text(), "kind", "measure"),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        *_required(sa.BigInteger(), "count", "total"),
        sa.PrimaryKeyConstraint("owner", "hour", "kind", "measure", "bucket"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "running_totals",
        *_required(sa.Text(), "owner", "kind"),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "hour"),
    )
    op.create_index("running_totals_by_hour", "running_totals", ["hour"])
    op.create_table(
        "limits",
        sa.Column("limit_key", KEY, nullable=False),
        *_required(sa.Text(), "owner", "scope"),
        sa.Column("max_running", sa.Integer()),
        *_required(sa.BigInteger(), "running", "waiting"),
        sa.Column("by_job", sa.Boolean(), nullable=False),
        sa.Column("set_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("limit_key"),
    )
    _partial_index(
        "limits_free", "limits", ["limit_key"], "waiting > 0 AND (max_running IS NULL OR running < max_running)"
    )
    op.create_index(
        "limits_passing",
        "limits",
        ["set_time"],
        sqlite_where=sa.text("by_job = 1 OR max_running IS NULL"),
        postgresql_where=sa.text("by_job OR max_running IS NULL"),
    )


def _create_access() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", KEY, nullable=False),
        *_required(sa.Text(), "owner", "name", "roles"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        *_optional(sa.BigInteger(), "expire_time", "revoke_time", "last_used_time"),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_index("api_keys_by_change", "api_keys", ["change"], unique=True)
    op.create_index("api_keys_by_digest", "api_keys", ["digest"], unique=True)
    op.create_index("api_keys_by_time", "api_keys", ["create_time", "key_id"])
    op.create_table(
        "usage",
        *_required(KEY, "day", "owner", "key_id", "method"),
        *_required(sa.BigInteger(), "calls", "errors", "received", "sent", "micros"),
        sa.PrimaryKeyConstraint("day", "owner", "key_id", "method"),
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("webhook_key", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("webhook_id", KEY, nullable=False),
        *_required(
            sa.Text(),
            "url",
            "secrets",
            "event_types",
            "percents",
            "kinds",
            "labels",
            "description",
            "state",
            "state_reason",
        ),
        sa.Column("state_time", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("missed", sa.Text()),
        sa.Column("after_position", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text()),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        *_required(sa.BigInteger(), "create_time", "update_time"),
        sa.CheckConstraint("state IN ('ACTIVE', 'DISABLED', 'PAUSED')", name="state_known"),
        sa.PrimaryKeyConstraint("webhook_key"),
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner", "webhook_id"])
    op.create_index("webhooks_by_request", "webhooks", ["owner", "request_id"], unique=True)
    op.create_table(
        "deliveries",
        sa.Column("webhook_key", KEY, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        *_required(sa.Text(), "state", "attempts"),
        *_required(sa.Integer(), "attempt_count", "tries"),
        *_optional(sa.BigInteger(), "first_attempt_time", "next_attempt_time", "locked_until"),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger()),
        sa.CheckConstraint("(end_time IS NULL) = (state = 'PENDING')", name="end_time_when_ended"),
        sa.CheckConstraint("next_attempt_time IS NULL OR state = 'PENDING'", name="next_attempt_when_pending"),
        sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
        sa.CheckConstraint("attempt_count >= 0 AND tries >= 0", name="attempts_not_negative"),
        sa.ForeignKeyConstraint(["webhook_key"], ["webhooks.webhook_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("webhook_key", "position", "ordinal"),
    )
    _partial_index(
        "deliveries_scheduled", "deliveries", ["webhook_key", "next_attempt_time"], "next_attempt_time IS NOT NULL"
    )
    _partial_index(
        "deliveries_pending_of_job",
        "deliveries",
        ["webhook_key", "job_key", "position", "ordinal"],
        "state = 'PENDING'",
    )
    _partial_index("deliveries_pending", "deliveries", ["create_time"], "state = 'PENDING'")
    _partial_index("deliveries_over", "deliveries", ["end_time"], "end_time IS NOT NULL")
    _partial_index("deliveries_dead", "deliveries", ["webhook_key", "position", "ordinal"], "state = 'DEAD'")
    checkpoint = op.create_table(
        "webhook_checkpoint",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one = 1", name="one_row"),
        sa.PrimaryKeyConstraint("one"),
    )
    op.bulk_insert(checkpoint, [{"one": 1, "position": 0}])


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _required(type_: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, type_, nullable=False) for name in names]


def _optional(type_: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, type_) for name in names]
