"""A batch's changes of one job: its chunks, its changes, and its rows and record."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.attempts import has_ended_attempt
from jobledger_service.core.model.change import Change, ChangeType, JobDelta
from jobledger_service.core.model.chunk import Artifacts, Chunk, WorkError
from jobledger_service.core.model.filter import FilterFields
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.sizes import RANGE, bytes_of_change, bytes_of_chunk, bytes_of_job
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.store.chunk_rows import is_steady_chunk
from jobledger_service.core.store.entry import JobSegments, Record
from jobledger_service.core.store.job_rows import is_steady_job
from jobledger_service.core.store.writes import SweptRows, Writes

from .undo import Undo

MAX_EVENT_BYTES: Final = 1024 * 1024
"""The maximum encoded size of what one commit changes on one job."""

NO_ERROR: Final = WorkError("")
"""That of a job whose failed chunks were imported without one."""


class Touched(MsgStruct):
    """The batch's changes of one job so far; `before` is None for a job that it created."""

    before: Job | None
    changes: list[Change] = []
    chunks: dict[int, Chunk] = {}
    unsteady: dict[int, None] = {}
    """The chunks of which a steady column changed."""
    artifacts: dict[int, Artifacts] = {}
    """The earlier artifacts of the chunks whose artifacts the batch changed."""
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

    def record_change(self, change: Change, job: Job, undo: Undo) -> None:
        """Append a change, which left the job so; a commit has progress by one worker on one chunk once."""
        if change.type is ChangeType.PROGRESSED and self.changes and self.changes[-1] == change:
            return
        undo.append(self.changes, change)
        undo.assign(self, "size", self.size + bytes_of_change(change))
        if change.to_state is JobState.FAILED and change.from_state is not JobState.FAILED:
            undo.append(self.failures, job.error or NO_ERROR)

    def create(self, chunks: Sequence[Chunk]) -> dict[int, Chunk]:
        """Add the chunks of a job that the batch creates; its event lists them as ranges, or they are few and small."""
        self.chunks = {chunk.index: chunk for chunk in chunks}
        return dict(self.chunks)

    def put(self, chunk: Chunk, old: Chunk | None, undo: Undo) -> None:
        """Set a changed chunk, which was `old`; when another attempt begins, keep what the earlier one left."""
        known = self.chunks.get(chunk.index)
        undo.put(self.chunks, chunk.index, chunk)
        undo.assign(self, "size", self.size + bytes_of_chunk(chunk) - (0 if known is None else bytes_of_chunk(known)))
        if old is None or not is_steady_chunk(old, chunk):
            undo.put(self.unsteady, chunk.index, None)
        if old is not None and has_ended_attempt(old) and chunk.attempt_number > old.attempt_number:
            undo.append(self.attempts, old)
        if old is not None and old.artifacts is not chunk.artifacts and chunk.index not in self.artifacts:
            undo.put(self.artifacts, chunk.index, old.artifacts)

    def sweep(self, swept: SweptRows, undo: Undo) -> None:
        """Add what one statement changes."""
        undo.assign(self, "swept", swept)
        undo.assign(self, "size", self.size + RANGE * len(swept.ranges))

    def set_holds(self, job: Job) -> None:
        """Set the holds of the changed chunks, when all commands are decided."""
        if self.before is None and not job.held and not job.counts.delayed and job.spec.finalizer_work is None:
            return  # nothing holds chunks of this new job
        self.chunks = {index: job.with_holds(chunk) for index, chunk in self.chunks.items()}

    def exceeds(self, job: Job) -> bool:
        """Whether its event may be larger than one commit allows.

        A job without artifacts is less than half of that by the bounds of its fields, and is not measured.
        """
        if not job.artifacts and self.size < MAX_EVENT_BYTES // 2:
            return False
        return self.size + bytes_of_job(job) > MAX_EVENT_BYTES

    def ready(self, job: Job) -> int:
        """Return how many of the written chunks wait for workers now."""
        if self.deleted or job.held:
            return 0
        if self.before is not None and self.before.held:
            return job.counts.pending
        swept = self.swept.count if self.swept and self.swept.sweep.to is ChunkState.PENDING else 0
        return swept + sum(c.state is ChunkState.PENDING and not c.held for c in self.chunks.values())

    def is_progress(self, job: Job) -> bool:
        """Whether nothing changed but progress: no state, no hold, and no artifacts."""
        before = self.before
        return (
            before is not None
            and (before.state, before.held, before.counts, before.artifacts)
            == (job.state, job.held, job.counts, job.artifacts)
            and not self.artifacts
            and all(change.type is ChangeType.PROGRESSED for change in self.changes)
        )

    def record(self, job: Job, *, quiet_since: int) -> Record:
        """Return its record for the ledger.

        The event with the state of a job that has been quiet since that time may soon be trimmed.
        """
        before = self.before
        return Record(
            before=FilterFields.of(before) if before else None,
            job=job,
            chunks=[self.chunks[index] for index in sorted(self.chunks)],
            ranges=self.swept.ranges if self.swept else (),
            changes=self.changes,
            deleted=self.deleted,
            previous=before if before and before.update_time <= quiet_since else None,
        )

    def delta(self, job: Job) -> JobDelta:
        """Return what the batch did to the job, for the families."""
        attempts, failures = self.attempts, self.failures
        return JobDelta(self.before, job, self.deleted, self.changes, self.chunks, self.artifacts, attempts, failures)

    def write(self, job: Job, segments: JobSegments, writes: Writes) -> None:
        """Add the rows of a changed job to write."""
        if self.deleted:
            writes.deleted_jobs.append(job.key)
        elif self.before is None:
            writes.new_jobs.append((job, self.inputs, segments))
            writes.new_words.append((job.key, FilterFields.of(job).full_text))
            writes.new_chunks.append((job, list(self.chunks.values()), self.inputs.chunks))
        else:
            (writes.steady_jobs if is_steady_job(self.before, job) else writes.jobs).append((job, segments))
            writes.words.extend(_new_words(self.before, job))
            if job.in_queue != self.before.in_queue:
                writes.followed.append(job)

    def write_chunks(self, job: Job, writes: Writes) -> None:
        """Add the rows of chunks that change, unless their job is new or deleted."""
        if self.before is not None and not self.deleted:
            if self.swept:
                writes.swept.append((job, self.swept))
            for chunk in self.chunks.values():
                if chunk.state is ChunkState.PENDING or chunk.index in self.unsteady:
                    writes.chunks.append((job, chunk))
                else:
                    writes.steady_chunks.append(chunk)
            writes.attempts.extend((job, chunk) for chunk in self.attempts)


def _new_words(before: Job, job: Job) -> Iterator[tuple[str, str]]:
    """Yield the full text of a job, if it changed."""
    was, is_ = ((one.display_name, one.labels, one.error) for one in (before, job))
    if was != is_:
        yield job.key, FilterFields.of(job).full_text
