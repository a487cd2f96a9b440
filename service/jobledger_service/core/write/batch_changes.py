"""What a batch leaves when all its commands are decided: rows to write, entries, and what families hear."""

from typing import Final

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.codec import Codec
from jobledger_service.core.database.rows.chunk_rows import is_steady_chunk
from jobledger_service.core.database.rows.entry import Entry, JobSegments
from jobledger_service.core.database.rows.job_rows import is_steady_job
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.history.change import JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import ChunkState

_PENDING: Final = ChunkState.PENDING


class BatchChanges(MsgStruct):
    """What a batch leaves; `add` adds each job that it touched."""

    codec: Codec
    now: Micros
    quiet_since: Micros
    """The event with the state of a job that has been quiet since that time may soon be trimmed."""
    segments: dict[str, JobSegments]
    """The changed jobs, encoded."""
    writes: Writes = field(default_factory=Writes)
    recorded: list[JobDelta] = []
    """The jobs with a change in the ledger, and their encoded entries."""
    entries: list[Entry] = []
    deltas: list[JobDelta] = []
    """The jobs with more than mere progress."""
    ready: dict[Queue, int] = {}
    """How many of the written chunks now wait for workers."""
    ready_without_event: dict[Queue, int] = {}
    """Those of them without a change in the ledger: retries that came due."""

    def add(self, delta: JobDelta) -> None:
        """Add a job as the batch left it."""
        before, job = delta.before, delta.job
        key, held = job.key, job.held
        was_held = 0 if before is None else before.held
        if before is not None or held or job.counts.delayed or job.spec.finalizer_work is not None:
            delta.chunks = {
                index: job.with_holds(chunk) if chunk.state is _PENDING or chunk.held else chunk
                for index, chunk in sorted(delta.chunks.items())
            }
        if job is not before:
            self.segments[key] = self.codec.segments(job)
        if delta.deleted:
            self.writes.deleted_jobs.append(key)
        elif before is None:
            self._create(delta)
        else:
            self._write(delta, before)
            if held != was_held or job.priority != before.priority:
                self.writes.followed.append(job)
        if delta.changes:
            self.recorded.append(delta)
            was_quiet = before is not None and before.update_time <= self.quiet_since
            self.entries.append(self.codec.encode(delta, self.segments[key], with_previous=was_quiet))
        if not delta.is_progress:
            self.deltas.append(delta)
        if not delta.deleted and not held:
            self._count_ready(delta, was_held=bool(was_held))

    def _create(self, delta: JobDelta) -> None:
        """Add the rows of a new job."""
        writes, job, inputs = self.writes, delta.job, delta.inputs
        writes.new_jobs.append((job, inputs, self.segments[job.key]))
        writes.new_words.append((job.key, FilterFields.of(job).full_text))
        writes.new_chunks.append((job, list(delta.chunks.values()), inputs.chunks))

    def _write(self, delta: JobDelta, before: Job) -> None:
        """Add the changed rows of a job and of its chunks."""
        writes, job = self.writes, delta.job
        if job is not before:
            rows = writes.steady_jobs if is_steady_job(before, job) else writes.jobs
            rows.append((job, self.segments[job.key]))
            if job.spec is not before.spec:
                writes.settled_jobs.append((job, self.segments[job.key]))
            if (before.display_name, before.labels, before.error) != (job.display_name, job.labels, job.error):
                writes.words.append((job.key, FilterFields.of(job).full_text))
        if delta.more_attempts:
            writes.more_attempts.append((job, delta.more_attempts))
        if delta.swept:
            writes.swept.append((job, delta.swept))
        for index, chunk in delta.chunks.items():
            earlier = delta.earlier.get(index)
            if chunk.state is _PENDING or earlier is None or not is_steady_chunk(earlier, chunk):
                writes.chunks.append((job, chunk))
            else:
                writes.steady_chunks.append(chunk)
        writes.attempts.extend([(job, chunk) for chunk in delta.attempts])

    def _count_ready(self, delta: JobDelta, *, was_held: bool) -> None:
        """Count the written chunks that wait for workers now."""
        job = delta.job
        if was_held:
            count = job.counts.pending
        else:
            count = sum([chunk.state is _PENDING and not chunk.held for chunk in delta.chunks.values()])
            if delta.swept and delta.swept.sweep.to is _PENDING:
                count += delta.swept.count
        if count:
            for ready in (self.ready,) if delta.changes else (self.ready, self.ready_without_event):
                for queue in job.queues:
                    ready[queue] = ready.get(queue, 0) + count
