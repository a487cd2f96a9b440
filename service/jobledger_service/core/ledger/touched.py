"""A batch's changes of one job: its chunks, its changes, and its rows and record."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.change import Change, ChangeType, JobDelta
from jobledger_service.core.model.chunk import Artifacts, Chunk
from jobledger_service.core.model.filter import FilterFields
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.sizes import RANGE, bytes_of_change, bytes_of_chunk, bytes_of_job
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.store.entry import ChunkRange, JobSegments, Record
from jobledger_service.core.store.writes import SweptRows, Writes

from .undo import Undo

MAX_EVENT_BYTES: Final = 1024 * 1024
"""The maximum encoded size of what one commit changes on one job."""


class Touched(MsgStruct):
    """The batch's changes of one job so far; `before` is None for a job that it created."""

    before: Job | None
    changes: list[Change] = []
    chunks: dict[int, Chunk] = {}
    artifacts: dict[int, Artifacts] = {}
    """The earlier artifacts of the chunks whose artifacts the batch changed."""
    swept: SweptRows | None = None
    """The chunks that one statement changes."""
    inputs: Inputs = Inputs()
    deleted: bool = False
    size: int = 0
    """The approximate bytes of its event, except the job itself."""

    def record_change(self, change: Change, undo: Undo) -> None:
        """Append a change; a commit has progress by one worker on one chunk once."""
        if change.type is ChangeType.PROGRESSED and self.changes and self.changes[-1] == change:
            return
        undo.append(self.changes, change)
        undo.assign(self, "size", self.size + bytes_of_change(change))

    def create(self, chunks: Sequence[Chunk]) -> dict[int, Chunk]:
        """Add the chunks of a job that the batch creates; its event lists them as ranges, or they are few and small."""
        self.chunks = {chunk.index: chunk for chunk in chunks}
        return dict(self.chunks)

    def put(self, chunk: Chunk, old: Chunk | None, undo: Undo) -> None:
        """Set a changed chunk, which was `old`."""
        known = self.chunks.get(chunk.index)
        undo.put(self.chunks, chunk.index, chunk)
        undo.assign(self, "size", self.size + bytes_of_chunk(chunk) - (0 if known is None else bytes_of_chunk(known)))
        if old is not None and old.artifacts is not chunk.artifacts and chunk.index not in self.artifacts:
            undo.put(self.artifacts, chunk.index, old.artifacts)

    def sweep(self, swept: SweptRows, undo: Undo) -> None:
        """Add what one statement changes."""
        undo.assign(self, "swept", swept)
        undo.assign(self, "size", self.size + RANGE * len(swept.ranges))

    def exceeds(self, job: Job) -> bool:
        """Whether its event may be larger than one commit allows."""
        return self.size + bytes_of_job(job) > MAX_EVENT_BYTES

    def ready(self, job: Job) -> int:
        """Return how many of the written chunks wait for workers now."""
        if self.deleted or job.parked_for:
            return 0
        if self.before is not None and self.before.parked_for:
            return job.counts.pending
        swept = self.swept.count if self.swept and self.swept.sweep.to is ChunkState.PENDING else 0
        return swept + sum(c.state is ChunkState.PENDING and c.not_before is None for c in self.chunks.values())

    def record(self, job: Job, *, was_quiet: bool) -> Record:
        """Return its record for the ledger."""
        ranges: Sequence[ChunkRange] = self.swept.ranges if self.swept else ()
        return Record(
            before=FilterFields.of(self.before) if self.before else None,
            job=job,
            chunks=[self.chunks[index] for index in sorted(self.chunks)],
            ranges=ranges,
            changes=self.changes,
            deleted=self.deleted,
            previous=self.before if was_quiet else None,
        )

    def delta(self, job: Job) -> JobDelta:
        """Return what the batch did to the job, for the families."""
        return JobDelta(self.before, job, self.deleted, self.changes, self.chunks, self.artifacts)

    def write(self, job: Job, writes: Writes, segments: Callable[[str], JobSegments]) -> None:
        """Add the rows to write; `segments` encodes a job by key."""
        if self.deleted:
            writes.deleted_jobs.append(job.key)
        elif self.before is None:
            self._write_new(job, writes, segments(job.key))
        else:
            if job is not self.before:
                writes.jobs.append((job, segments(job.key)))
                writes.words.extend(_new_words(self.before, job))
            self._write_changed(self.before, job, writes)

    def _write_new(self, job: Job, writes: Writes, segments: JobSegments) -> None:
        writes.new_jobs.append((job, self.inputs, segments))
        writes.new_words.append((job.key, FilterFields.of(job).full_text))
        writes.new_chunks.append((job, list(self.chunks.values()), self.inputs.chunks))

    def _write_changed(self, before: Job, job: Job, writes: Writes) -> None:
        if self.swept:
            writes.swept.append((job, self.swept))
        if job.priority != before.priority:
            writes.reprioritised.append(job)
        if bool(job.parked_for) != bool(before.parked_for):
            writes.parked.append(job)
        writes.chunks.extend((job, chunk) for chunk in self.chunks.values())


def _new_words(before: Job, job: Job) -> Iterator[tuple[str, str]]:
    """Yield the full text of a job, if it changed."""
    was, is_ = ((one.display_name, one.labels, one.error) for one in (before, job))
    if was != is_:
        yield job.key, FilterFields.of(job).full_text
