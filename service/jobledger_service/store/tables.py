"""The tables. Times are microseconds since 1970; what is never searched is kept as text or bytes."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobledger_service.domain.delivery import DeliveryState
from jobledger_service.domain.service_kinds import SERVICE_KINDS
from jobledger_service.domain.states import ENDED, ChunkState, JobState
from jobledger_service.domain.webhook import WebhookState

metadata = MetaData()

# Keys are compared by their bytes on every database, as Python compares them.
Key = Text().with_variant(Text(collation="C"), "postgresql")
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

NEVER = 9_223_372_036_854_775_807
"""Stands for the end of a job that has not ended, in the order by end."""


def _one_of(column: str, values: list[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


_ended = ", ".join(f"'{state}'" for state in sorted(ENDED))

jobs = Table(
    "jobs",
    metadata,
    Column("job_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("retry_policy", Text, nullable=False),
    Column("failure_policy", Text, nullable=False),
    Column("stages", Text),
    Column("input", LargeBinary),
    Column("display_name", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("labels", Json),
    Column("state", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("chunks_pending", Integer, nullable=False),
    Column("chunks_processing", Integer, nullable=False),
    Column("chunks_completed", Integer, nullable=False),
    Column("chunks_failed", Integer, nullable=False),
    Column("chunks_cancelled", Integer, nullable=False),
    Column("work_total", BigInteger, nullable=False),
    Column("work_done", BigInteger, nullable=False),
    Column("items_total", BigInteger, nullable=False),
    Column("items_completed", BigInteger, nullable=False),
    Column("percent", Double, nullable=False),
    Column("stage", Text, nullable=False),
    Column("stage_percent", Double),
    Column("message", Text, nullable=False),
    Column("rate_since", BigInteger),
    Column("rate_at", BigInteger),
    Column("rate_items", Double),
    Column("rate_work", Double),
    Column("stage_timings", Text),
    Column("artifacts", Text),
    Column("declared_result", Text, nullable=False),
    Column("first_failure", Text),
    Column("cancel_reason", Text, nullable=False),
    Column("cancel_deadline", BigInteger),
    Column("start_time", BigInteger),
    Column("update_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("expire_time", BigInteger),
    Column("expires_by_rule", Boolean, nullable=False),
    Column("retry_time", BigInteger),
    Column("slots", Text),
    Column("parked_for", Key),
    Column("traceparent", Text),
    _one_of("state", list(JobState)),
    _one_of("failure_policy", ["RUN_ALL", "FAIL_FAST"]),
    CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
    CheckConstraint("percent BETWEEN 0 AND 100", name="percent_in_range"),
    CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
    CheckConstraint("revision >= 1 AND retry_count >= 0", name="revision_counts"),
    CheckConstraint(
        "chunks_pending >= 0 AND chunks_processing >= 0 AND chunks_completed >= 0 AND chunks_failed >= 0"
        " AND chunks_cancelled >= 0",
        name="chunks_not_negative",
    ),
    CheckConstraint(
        "work_done BETWEEN 0 AND work_total AND items_completed BETWEEN 0 AND items_total", name="sums_in_range"
    ),
    CheckConstraint(f"(end_time IS NOT NULL) = (state IN ({_ended}))", name="end_time_when_ended"),
    CheckConstraint("state <> 'FAILED' OR first_failure IS NOT NULL", name="failed_for_a_reason"),
)

# What lists walk: one order each. The columns before the time or value are given, so that the rest is in order. Entries
# of the first never change.
Index("jobs_by_create_time", jobs.c.owner, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_state", jobs.c.owner, jobs.c.state, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_kind", jobs.c.owner, jobs.c.kind, jobs.c.state, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_update_time", jobs.c.owner, jobs.c.state, jobs.c.update_time, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_end_time", jobs.c.owner, jobs.c.state, jobs.c.end_time, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_priority", jobs.c.owner, jobs.c.state, jobs.c.priority, jobs.c.create_time, jobs.c.job_key)

# The conditions of partial indexes. A query has to say the same, with the same literal, for its database to use one.
cancelling = jobs.c.state == literal_column("'CANCELLING'")
expiring = jobs.c.expire_time.is_not(None)
Index("jobs_cancelling", jobs.c.cancel_deadline, sqlite_where=cancelling, postgresql_where=cancelling)
Index("jobs_expiring", jobs.c.expire_time, sqlite_where=expiring, postgresql_where=expiring)

parked = jobs.c.parked_for.is_not(None)
Index(
    "jobs_parked",
    jobs.c.parked_for,
    jobs.c.priority.desc(),
    jobs.c.create_time,
    jobs.c.job_key,
    sqlite_where=parked,
    postgresql_where=parked,
)

chunks = Table(
    "chunks",
    metadata,
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True),
    Column("chunk_index", Integer, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("input", LargeBinary),
    Column("first_item", BigInteger),
    Column("last_item", BigInteger),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("lease_end", Text),
    Column("task_id", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("stage_percent", Double),
    Column("message", Text, nullable=False),
    Column("items_completed", BigInteger, nullable=False),
    Column("stage_time", BigInteger),
    Column("artifacts", Text),
    Column("error", Text),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("lease_expire_time", BigInteger),
    Column("not_before", BigInteger),
    Column("parked", SmallInteger, nullable=False),
    _one_of("state", list(ChunkState)),
    CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
    CheckConstraint("done BETWEEN 0 AND 1000000", name="done_in_range"),
    CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
    CheckConstraint("attempt >= 0 AND fence >= 0 AND items_completed >= 0", name="counts_not_negative"),
    CheckConstraint("(lease_expire_time IS NOT NULL) = (state = 'PROCESSING')", name="lease_when_processing"),
    sqlite_with_rowid=False,
)

waiting = and_(
    chunks.c.state == literal_column("'PENDING'"),
    chunks.c.not_before.is_(None),
    chunks.c.parked == literal_column("0"),
)
leased = chunks.c.state == literal_column("'PROCESSING'")
delayed = chunks.c.not_before.is_not(None)
Index(
    "chunks_waiting",
    chunks.c.owner,
    chunks.c.kind,
    chunks.c.priority.desc(),
    chunks.c.create_time,
    chunks.c.job_key,
    chunks.c.chunk_index,
    sqlite_where=waiting,
    postgresql_where=waiting,
)
Index("chunks_leased", chunks.c.lease_expire_time, sqlite_where=leased, postgresql_where=leased)
Index("chunks_delayed", chunks.c.not_before, sqlite_where=delayed, postgresql_where=delayed)

of_service = waiting & chunks.c.kind.in_([literal_column(f"'{kind}'") for kind in SERVICE_KINDS])
Index(
    "chunks_of_service",
    chunks.c.owner,
    chunks.c.kind,
    chunks.c.create_time,
    sqlite_where=of_service,
    postgresql_where=of_service,
)

runs = Table(
    "runs",
    metadata,
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True),
    Column("cursors", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("told", Text, nullable=False),
    sqlite_with_rowid=False,
)

job_words = Table(
    "job_words",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False, unique=True),
    Column("words", Text, nullable=False),
)
"""What full text holds of each job. On SQLite, triggers keep the index of it, `job_search`, that migrations make."""

# The words are made before they come here, so that the database divides them at spaces and does no more.
search_vector = func.array_to_tsvector(func.string_to_array(job_words.c.words, literal_column("' '")))
Index(
    "job_words_search",
    search_vector,
    postgresql_using="gin",
    # A search reads through what new rows left pending in the index: less than by default.
    postgresql_with={"gin_pending_list_limit": 256},
).ddl_if(dialect="postgresql")

counts = Table(
    "counts",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("chunks_pending", BigInteger, nullable=False),
    Column("chunks_processing", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

rollups = Table(
    "rollups",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("measure", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

running_totals = Table(
    "running_totals",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("activity", Text, nullable=False),
)

limits = Table(
    "limits",
    metadata,
    Column("limit_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("most", Integer),
    Column("running", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("by_job", Boolean, nullable=False),
    Column("set_time", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("job_key", Key, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("before", Json),
    Column("previous", LargeBinary),
)
Index("events_by_job", events.c.job_key, events.c.position)

tombstones = Table(
    "tombstones",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("job_key", Key, nullable=False),
    Column("delete_time", BigInteger, nullable=False),
)
Index(
    "tombstones_by_create_time",
    tombstones.c.owner,
    tombstones.c.create_time,
    tombstones.c.job_key,
    tombstones.c.position,
)

audit = Table(
    "audit",
    metadata,
    Column("job_key", Key, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("message", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

ledger = Table(
    "ledger",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("ledger_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("trimmed", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
    CheckConstraint("trimmed BETWEEN 0 AND position", name="trimmed_in_range"),
)

requests = Table(
    "requests",
    metadata,
    Column("request_key", Key, primary_key=True),
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)
Index("requests_by_job", requests.c.job_key)
Index("requests_by_time", requests.c.create_time)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),
    Column("revoke_time", BigInteger),
    Column("last_used_time", BigInteger),
    Column("change", BigInteger, nullable=False),
)
Index("api_keys_by_change", api_keys.c.change, unique=True)
Index("api_keys_by_digest", api_keys.c.digest, unique=True)
Index("api_keys_by_time", api_keys.c.create_time, api_keys.c.key_id)

usage = Table(
    "usage",
    metadata,
    Column("day", Key, primary_key=True),
    Column("owner", Key, primary_key=True),
    Column("key_id", Key, primary_key=True),
    Column("method", Key, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("webhook_id", Key, nullable=False),
    Column("url", Text, nullable=False),
    Column("secrets", Text, nullable=False),
    Column("event_types", Text, nullable=False),
    Column("percents", Text, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("state_time", BigInteger, nullable=False),
    Column("failing_since", BigInteger),
    Column("missed", Text),
    Column("after_position", BigInteger, nullable=False),
    Column("request_id", Text),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    _one_of("state", list(WebhookState)),
)
Index("webhooks_by_owner", webhooks.c.owner, webhooks.c.webhook_id)
Index("webhooks_by_request", webhooks.c.owner, webhooks.c.request_id, unique=True)

deliveries = Table(
    "deliveries",
    metadata,
    Column("webhook_key", Key, ForeignKey("webhooks.webhook_key", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("job_key", Key, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Text, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("first_attempt_time", BigInteger),
    Column("next_attempt_time", BigInteger),
    Column("locked_until", BigInteger),
    Column("create_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    _one_of("state", list(DeliveryState)),
    CheckConstraint("(end_time IS NULL) = (state = 'PENDING')", name="end_time_when_ended"),
    CheckConstraint("next_attempt_time IS NULL OR state = 'PENDING'", name="next_attempt_when_pending"),
    CheckConstraint("attempt_count >= 0 AND tries >= 0", name="attempts_not_negative"),
)

pending = deliveries.c.state == literal_column("'PENDING'")
dead = deliveries.c.state == literal_column("'DEAD'")
scheduled = deliveries.c.next_attempt_time.is_not(None)
over = deliveries.c.end_time.is_not(None)
Index(
    "deliveries_scheduled",
    deliveries.c.webhook_key,
    deliveries.c.next_attempt_time,
    sqlite_where=scheduled,
    postgresql_where=scheduled,
)
Index(
    "deliveries_pending_of_job",
    deliveries.c.webhook_key,
    deliveries.c.job_key,
    deliveries.c.position,
    deliveries.c.ordinal,
    sqlite_where=pending,
    postgresql_where=pending,
)
Index("deliveries_pending", deliveries.c.create_time, sqlite_where=pending, postgresql_where=pending)
Index("deliveries_over", deliveries.c.end_time, sqlite_where=over, postgresql_where=over)
Index(
    "deliveries_dead",
    deliveries.c.webhook_key,
    deliveries.c.position,
    deliveries.c.ordinal,
    sqlite_where=dead,
    postgresql_where=dead,
)

webhook_place = Table(
    "webhook_place",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)
