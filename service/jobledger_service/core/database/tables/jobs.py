"""Jobs, their chunks and words, and how far the service's own jobs have come."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    and_,
    func,
    literal_column,
)

from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.fields import ATTEMPT_FIELDS, CHUNK_FIELDS, JOB_FIELDS
from jobledger_service.core.model.filters.label_indexes import LabelIndexState
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.service_kinds import SERVICE_KINDS
from jobledger_service.core.model.states import ENDED, ChunkState, JobState

from .schema import POSTGRES, Key, columns_of, metadata, one_of, partial_index

_ended = ", ".join(f"'{state}'" for state in sorted(ENDED))

jobs = Table(
    "jobs",
    metadata,
    *columns_of(Job, JOB_FIELDS),
    # Segments of the encoded job, for those who read it; the writer reads the columns of its fields.
    Column("fixed", LargeBinary, nullable=False),
    Column("moving", LargeBinary, nullable=False),
    Column("input", LargeBinary),
    one_of("state", list(JobState)),
    CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
    CheckConstraint("percent BETWEEN 0 AND 100", name="percent_in_range"),
    CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
    CheckConstraint("revision >= 1 AND retry_count >= 0", name="revision_counts"),
    CheckConstraint(
        "chunks_pending >= 0 AND chunks_processing >= 0 AND chunks_completed >= 0 AND chunks_failed >= 0"
        " AND chunks_cancelled >= 0 AND chunks_delayed BETWEEN 0 AND chunks_pending",
        name="chunks_not_negative",
    ),
    CheckConstraint(
        "work_done BETWEEN 0 AND work_total AND items_completed BETWEEN 0 AND items_total", name="sums_in_range"
    ),
    CheckConstraint(f"(end_time IS NOT NULL) = (state IN ({_ended}))", name="end_time_when_ended"),
)

# What lists walk: one order each. The columns before the time or value are given, so that the rest is in order. Entries
# of the first never change.
Index("jobs_by_create_time", jobs.c.owner, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_state", jobs.c.owner, jobs.c.state, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_kind", jobs.c.owner, jobs.c.kind, jobs.c.state, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_update_time", jobs.c.owner, jobs.c.state, jobs.c.update_time, jobs.c.create_time, jobs.c.job_key)
Index("jobs_by_priority", jobs.c.owner, jobs.c.state, jobs.c.priority, jobs.c.create_time, jobs.c.job_key)
ended = jobs.c.end_time.is_not(None)
"""Jobs that have ended: others have no place in the order by end."""
partial_index(
    "jobs_by_end_time", jobs.c.owner, jobs.c.state, jobs.c.end_time, jobs.c.create_time, jobs.c.job_key, where=ended
)

ending = jobs.c.deadline.is_not(None)
expiring = jobs.c.expire_time.is_not(None)
partial_index("jobs_ending", jobs.c.deadline, where=ending)
partial_index("jobs_expiring", jobs.c.expire_time, where=expiring)

scheduled_jobs = jobs.c.held_until.is_not(None)
partial_index("jobs_scheduled", jobs.c.held_until, where=scheduled_jobs)

parked = jobs.c.parked_for != literal_column("''")
partial_index(
    "jobs_parked", jobs.c.parked_for, jobs.c.priority.desc(), jobs.c.create_time, jobs.c.job_key, where=parked
)

_service_kinds: list[ColumnElement[str]] = [literal_column(f"'{kind}'") for kind in SERVICE_KINDS]
claimable = and_(jobs.c.claimable == literal_column("1"), jobs.c.kind.not_in(_service_kinds))
"""The jobs of which workers may claim chunks. A job has one entry, whatever number of chunks it has."""
partial_index("jobs_claimable", jobs.c.kind, jobs.c.priority, jobs.c.owner, where=claimable)
waiting_since = func.coalesce(jobs.c.retry_time, jobs.c.schedule_time, jobs.c.create_time)
waiting_jobs = and_(
    jobs.c.state == literal_column("'QUEUED'"),
    jobs.c.parked_for == literal_column("''"),
    jobs.c.held_until.is_(None),
)
"""The jobs whose first chunk may be claimed."""
partial_index("jobs_waiting", jobs.c.kind, waiting_since, where=waiting_jobs)

# No foreign key: to check it for each new chunk costs as much again as the insert (docs/adr/0044).
chunks = Table(
    "chunks",
    metadata,
    *columns_of(Chunk, CHUNK_FIELDS),
    # Of the job, for the order in which chunks wait.
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("input", LargeBinary),
    one_of("state", list(ChunkState)),
    CheckConstraint("priority BETWEEN 0 AND 10", name="priority_in_range"),
    CheckConstraint("done BETWEEN 0 AND 1000000", name="done_in_range"),
    CheckConstraint("stage_percent BETWEEN 0 AND 100", name="stage_percent_in_range"),
    CheckConstraint("attempt >= 0 AND fence >= 0 AND items_completed >= 0", name="counts_not_negative"),
    CheckConstraint("(lease_expire_time IS NOT NULL) = (state = 'PROCESSING')", name="lease_when_processing"),
    CheckConstraint("held = 0 OR state = 'PENDING'", name="held_when_pending"),
    sqlite_with_rowid=False,
)

waiting = and_(chunks.c.state == literal_column("'PENDING'"), chunks.c.held == literal_column("0"))
"""The chunks that may be claimed: PENDING, and without a hold."""
leased = chunks.c.state == literal_column("'PROCESSING'")
delayed = chunks.c.next_attempt_time.is_not(None)
partial_index(
    "chunks_waiting",
    chunks.c.owner,
    chunks.c.kind,
    chunks.c.priority.desc(),
    chunks.c.create_time,
    chunks.c.job_key,
    chunks.c.chunk_index,
    where=waiting,
)
partial_index("chunks_leased", chunks.c.lease_check_time, where=leased)
partial_index("chunks_of_workers", chunks.c.worker, chunks.c.owner, where=leased)
partial_index("chunks_delayed", chunks.c.next_attempt_time, where=delayed)
of_workers = waiting & chunks.c.kind.not_in(_service_kinds)

of_service = waiting & chunks.c.kind.in_(_service_kinds)
partial_index("chunks_of_service", chunks.c.owner, chunks.c.kind, chunks.c.create_time, where=of_service)

has_task = chunks.c.task_id != literal_column("''")
partial_index("chunks_by_task", chunks.c.owner, chunks.c.task_id, chunks.c.job_key, where=has_task)

attempts = Table("attempts", metadata, *columns_of(Chunk, ATTEMPT_FIELDS), sqlite_with_rowid=False)
"""Attempts at chunks that were followed by others: the chunks as they left them."""

Index("attempts_by_time", attempts.c.job_key, attempts.c.attempt_end_time)
had_task = attempts.c.task_id != literal_column("''")
partial_index("attempts_by_task", attempts.c.task_id, attempts.c.job_key, where=had_task)

runs = Table(
    "runs",
    metadata,
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True),
    Column("run", Text, nullable=False),
    sqlite_with_rowid=False,
)

unique_keys = Table(
    "unique_keys",
    metadata,
    Column("unique_key", Key, primary_key=True),
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False, unique=True),
    # Of a job that has ended, when the unique_window since its creation is over; NULL while it has not ended.
    Column("kept_until", BigInteger),
    sqlite_with_rowid=False,
)
"""The keys of jobs that have not ended, or whose unique_window has not."""

paused_kinds = Table(
    "paused_kinds",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("kind", Key, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    Column("pause_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

outputs = Table(
    "outputs",
    metadata,
    Column("uid", LargeBinary, primary_key=True),
    Column("chunk_index", Integer, primary_key=True, autoincrement=False),
    Column("encoded", LargeBinary, nullable=False),
)
"""The outputs of chunks, and of jobs, encoded. They stay when their job is deleted, until retention deletes them."""

deleted_outputs = Table(
    "deleted_outputs", metadata, Column("uid", LargeBinary, primary_key=True), sqlite_with_rowid=False
)
"""Deleted jobs whose outputs are still stored."""

job_words = Table(
    "job_words",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False, unique=True),
    Column("words", Text, nullable=False),
)
"""What full text holds of each job. On SQLite, triggers keep the index of it, `job_search`, that migrations make."""

job_labels = Table(
    "job_labels",
    metadata,
    Column("index_number", Integer, primary_key=True, autoincrement=False),
    Column("owner", Key, primary_key=True),
    Column("digest", BigInteger, primary_key=True),
    Column("create_time", BigInteger, primary_key=True),
    Column("job_key", Key, primary_key=True),
    Column("state", Key, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("end_time", BigInteger),
    sqlite_with_rowid=False,
)
"""A row for each job and indexed label that it has: what lists of the jobs with one value are ordered by."""
has_ended = job_labels.c.end_time.is_not(None)
_value = (job_labels.c.index_number, job_labels.c.owner, job_labels.c.digest)
_creation = (job_labels.c.create_time, job_labels.c.job_key)
Index("job_labels_by_state", *_value, job_labels.c.state, *_creation)
partial_index("job_labels_by_end_time", *_value, job_labels.c.state, job_labels.c.end_time, *_creation, where=has_ended)
# Without the state, which changes: it would be written twice more in the life of a job.
Index("job_labels_by_priority", *_value, job_labels.c.priority, *_creation)

label_indexes = Table(
    "label_indexes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    one_of("state", list(LabelIndexState)),
    Column("state", Text, nullable=False),
    Column("built_through", Key, nullable=False),
)
"""The indexes of labels: those that are written, and those whose rows are being deleted."""

# The words are made before they come here, so that the database divides them at spaces and does no more.
search_vector = func.array_to_tsvector(func.string_to_array(job_words.c.words, literal_column("' '")))
Index(
    "job_words_search",
    search_vector,
    # A search reads through what new rows left pending in the index: less than by default.
    info={POSTGRES: {"using": "gin", "with": {"gin_pending_list_limit": 256}}},
).ddl_if(dialect="postgresql")
