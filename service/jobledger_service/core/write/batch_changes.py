"""What a batch leaves when all its commands are decided: rows to write, entries, and what families hear."""

from typing import Final

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.codec import Codec
from jobledger_service.core.database.rows.chunk_rows import is_steady_chunk
from jobledger_service.core.database.rows.entry import Entry, JobSegments, Record
from jobledger_service.core.database.rows.job_rows import is_steady_job
from jobledger_service.core.database.rows.writes import SweptRows, Writes
from jobledger_service.core.model.chunk import Chunk, Queue, WorkError
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.history.change import Change, ChangeType, JobDelta
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import ChunkState

_PENDING: Final = ChunkState.PENDING


class Touched(MsgStruct):
    """The batch's changes of one job so far; `before` is None for a job that it created."""

    before: Job | None
    changes: list[Change] = []
    chunks: dict[int, Chunk] = {}
    earlier: dict[int, Chunk] = {}
    """The chunks as they were before the batch changed them; those of a new job only when it changes them again."""
    attempts: list[Chunk] = []
    """Chunks as their earlier attempts left them."""
    failures: list[WorkError] = []
    """Why runs ended FAILED, each at its time: RetryJob may begin another run in the same batch."""
    swept: SweptRows | None = None
    """The chunks that one statement changes."""
    inputs: Inputs = Inputs()
    deleted: bool = False
    size: int = 0
    """The approximate bytes of its event, except the job itself."""


class BatchChanges(MsgStruct):
    """What a batch leaves; `add` adds each job that it touched."""

    codec: Codec
    quiet_since: Micros
    """The event with the state of a job that has been quiet since that time may soon be trimmed."""
    segments: dict[str, JobSegments]
    """The changed jobs, encoded."""
    writes: Writes = field(default_factory=Writes)
    records: list[Record] = []
    """The records for the ledger, one for each job with a change, and their encoded entries."""
    entries: list[Entry] = []
    deltas: list[JobDelta] = []
    """What it did to jobs, except mere progress."""
    ready: dict[Queue, int] = {}
    """How many of the written chunks now wait for workers."""
    ready_without_event: dict[Queue, int] = {}
    """Those of them without a change in the ledger: retries that came due."""

    def add(self, key: str, touched: Touched, job: Job) -> None:
        """Add a job as the batch left it."""
        before, held = touched.before, job.held
        was_held = 0 if before is None else before.held
        if before is not None or held or job.counts.delayed or job.spec.finalizer_work is not None:
            touched.chunks = {
                index: job.with_holds(chunk) if chunk.state is _PENDING or chunk.held else chunk
                for index, chunk in touched.chunks.items()
            }
        if job is not before:
            self.segments[key] = self.codec.segments(job)
        if touched.deleted:
            self.writes.deleted_jobs.append(key)
        elif before is None:
            self._create(key, touched, job)
        else:
            self._write(key, touched, before, job)
            if held != was_held or job.priority != before.priority:
                self.writes.followed.append(job)
        if touched.changes:
            record = self._record(touched, job)
            self.records.append(record)
            self.entries.append(self.codec.encode(record, self.segments[key]))
        if before is None or held != was_held or not _is_progress(touched, before, job):
            self.deltas.append(_delta(touched, job))
        if not touched.deleted and not held:
            self._count_ready(touched, job, was_held=bool(was_held))

    def _create(self, key: str, touched: Touched, job: Job) -> None:
        """Add the rows of a new job."""
        writes, inputs = self.writes, touched.inputs
        writes.new_jobs.append((job, inputs, self.segments[key]))
        writes.new_words.append((key, FilterFields.of(job).full_text))
        writes.new_chunks.append((job, list(touched.chunks.values()), inputs.chunks))

    def _write(self, key: str, touched: Touched, before: Job, job: Job) -> None:
        """Add the changed rows of a job and of its chunks."""
        writes = self.writes
        if job is not before:
            rows = writes.steady_jobs if is_steady_job(before, job) else writes.jobs
            rows.append((job, self.segments[key]))
            if (before.display_name, before.labels, before.error) != (job.display_name, job.labels, job.error):
                writes.words.append((key, FilterFields.of(job).full_text))
        if touched.swept:
            writes.swept.append((job, touched.swept))
        for index, chunk in touched.chunks.items():
            earlier = touched.earlier.get(index)
            if chunk.state is _PENDING or earlier is None or not is_steady_chunk(earlier, chunk):
                writes.chunks.append((job, chunk))
            else:
                writes.steady_chunks.append(chunk)
        writes.attempts.extend([(job, chunk) for chunk in touched.attempts])

    def _record(self, touched: Touched, job: Job) -> Record:
        before = touched.before
        return Record(
            before=FilterFields.of(before) if before else None,
            job=job,
            chunks=[touched.chunks[index] for index in sorted(touched.chunks)],
            ranges=touched.swept.ranges if touched.swept else (),
            changes=touched.changes,
            deleted=touched.deleted,
            previous=before if before and before.update_time <= self.quiet_since else None,
        )

    def _count_ready(self, touched: Touched, job: Job, *, was_held: bool) -> None:
        """Count the written chunks that wait for workers now."""
        if was_held:
            count = job.counts.pending
        else:
            count = sum([chunk.state is _PENDING and not chunk.held for chunk in touched.chunks.values()])
            if touched.swept and touched.swept.sweep.to is _PENDING:
                count += touched.swept.count
        if count:
            for ready in (self.ready,) if touched.changes else (self.ready, self.ready_without_event):
                for queue in job.queues:
                    ready[queue] = ready.get(queue, 0) + count


def _is_progress(touched: Touched, before: Job, job: Job) -> bool:
    """Whether nothing changed but progress: no state and no artifacts."""
    return (
        (before.state, before.counts, before.artifacts) == (job.state, job.counts, job.artifacts)
        and all(change.type is ChangeType.PROGRESSED for change in touched.changes)
        and not any(was.artifacts is not touched.chunks[index].artifacts for index, was in touched.earlier.items())
    )


def _delta(touched: Touched, job: Job) -> JobDelta:
    """Return what the batch did to a job, for the families."""
    chunks = touched.chunks
    artifacts = {n: was.artifacts for n, was in touched.earlier.items() if was.artifacts is not chunks[n].artifacts}
    deleted, changes, attempts, failures = touched.deleted, touched.changes, touched.attempts, touched.failures
    return JobDelta(touched.before, job, deleted, changes, chunks, artifacts, attempts, failures)
