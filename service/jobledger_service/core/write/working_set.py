"""The rows of one batch, changed in memory by each command in turn."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar, cast

from msgspec.structs import replace

from jobledger_service.core.codec import Codec
from jobledger_service.core.database.rows.writes import SweptRows
from jobledger_service.core.model.attempts import has_ended_attempt
from jobledger_service.core.model.bounds.limits import CHUNK_RANGES_FROM
from jobledger_service.core.model.bounds.sizes import RANGE, bytes_of_change, bytes_of_chunk, bytes_of_job
from jobledger_service.core.model.chunk import NO_ARTIFACTS, Chunk, ChunkKey, Queue, WorkError
from jobledger_service.core.model.history.change import SERVICE_ACTOR, Change, ChangeType, Step
from jobledger_service.core.model.job import Inputs, Job, job_key
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import ChunkNotFound, JobNotFound, JobUnreadable
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.sweep import Sweep

from .batch_changes import Touched
from .loaded_rows import LoadedRows, finalizer_of
from .picking import ClaimQuery, Picked
from .row_families import PostponedError, RowFamily
from .stored_chunks import StoredChunks
from .writing import Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobledger_service.core.database.rows.entry import JobSegments

Family = TypeVar("Family", bound=RowFamily)
Holder = TypeVar("Holder", Job, Chunk)
"""What has artifacts."""

MAX_BATCH_ROWS: Final = 2_000
"""Rows after which a batch ends: a transaction of them takes 0.05 to 0.1 s."""
MAX_EVENT_BYTES: Final = 1024 * 1024
"""The maximum encoded size of what one commit changes on one job."""
NO_ERROR: Final = WorkError("")
"""That of a job whose failed chunks were imported without one."""


class WorkingSet:
    """A batch's jobs and chunks; `undo` undoes what a refused command did."""

    def __init__(self, loaded: LoadedRows, codec: Codec, now: Micros, calendar: Micros) -> None:
        self.now = now
        self.calendar = calendar
        """The time by which dates that people name have come."""
        self.rows = 0
        """About how many rows the commands so far change."""
        self.row_budget = MAX_BATCH_ROWS
        """How many rows a command may change that can be carried out in parts."""
        self.exceeded = False
        """Whether what the batch changes on one job is larger than one commit allows."""
        self.undo = loaded.undo
        self.touched: dict[str, Touched] = {}
        self.encoded: dict[str, JobSegments] = {}
        """Jobs as the batch left them, encoded."""
        self.pauses: dict[Queue, int] = {}
        """The queues that were paused, and those that were resumed with so many waiting chunks."""
        self._codec = codec
        self._loaded, self._jobs, self._chunks = loaded, loaded.jobs, loaded.chunks
        self._transaction = loaded.transaction
        self._claimed: dict[ChunkKey, None] = {}
        self._inputs: Mapping[str, Inputs] = {}
        self._freed_slots = False
        """Whether slots came free since the last claim."""

    # What commands read

    def job(self, owner: str, job_id: str) -> Job:
        """Return the owner's job as the earlier commands left it; raises JobNotFound, JobUnreadable."""
        key = job_key(owner, job_id)
        job = self.find(key)
        if job is None:
            self.check_readable(key)
            raise JobNotFound(job_id)
        return job

    def check_readable(self, key: str) -> None:
        """Raise JobUnreadable for a job that exists and cannot be read."""
        self._loaded.check_readable(key)

    def find(self, key: str) -> Job | None:
        """Return a loaded job; None also for one that cannot be read."""
        touched = self.touched.get(key)
        return None if touched and touched.deleted else self._jobs.get(key)

    def last(self, key: str) -> Job:
        """Return a job as the batch left it, even if it was deleted."""
        return self._jobs[key]

    def chunk(self, key: str, index: int) -> Chunk:
        """Return a chunk of a loaded job; raises ChunkNotFound, JobUnreadable."""
        chunk = self._chunks.get(key, {}).get(index)
        if chunk is None:
            job = self._jobs[key]
            if (key, index) in self._transaction.unreadable:
                raise JobUnreadable(job.spec.job_id)
            raise ChunkNotFound(job.spec.job_id, index, job.counts.total)
        return chunk

    def chunks(self, job: Job) -> StoredChunks:
        """Return the answers to questions of decisions about all chunks of a job."""
        return StoredChunks(job.key, self._chunks.get(job.key, {}), lambda: self._store_of(job.key))

    def with_artifacts(self, some: Sequence[Job]) -> list[Job]:
        """Return those of some jobs, which this batch may have deleted, that have artifacts, also by their chunks."""
        stored = self._transaction.with_versions(job.key for job in some)
        loaded = {key for key, chunks in self._chunks.items() if any(chunk.artifacts for chunk in chunks.values())}
        return [job for job in some if job.artifacts or job.key in stored or job.key in loaded]

    def _store_of(self, key: str) -> Transaction | None:
        """Return the transaction when the store has chunks of a job that are not loaded; raises PostponedError.

        The store's answers are from before the batch, and invalid after a sweep in the same batch.
        """
        touched = self.touched.get(key)
        if touched is None:
            return self._transaction
        if touched.swept is not None:
            raise PostponedError
        return None if touched.before is None else self._transaction

    def picked(self, query: ClaimQuery) -> Picked:
        """Return the chunks for the next claim with this query, with those that became claimable in this batch."""
        if self._freed_slots:
            self.undo.assign(self, "_freed_slots", value=False)
            for key in self._loaded.parked:
                job = self.find(key)
                if job is not None and self.rows + job.counts.pending >= MAX_BATCH_ROWS:
                    break  # the duty of limits grants it, before those that are less urgent
                if job is not None and self.grant_slots(job):
                    self._loaded.offer((key, 0))
        return self._loaded.next_picked(query)

    def is_paused(self, job: Job) -> bool:
        """Whether the kind of a job was paused before the batch."""
        return self._loaded.is_paused(job)

    def grant_slots(self, job: Job) -> bool:
        """Give a job that waits for a slot its slots if they are free, or else let it wait for the one that is not."""
        if not job.parked_for:
            return False
        after = reduce(lambda kept, family: family.with_slots(kept), self._loaded.families.values(), job)
        granted = Change(ChangeType.SLOT_GRANTED, SERVICE_ACTOR, job.state, job.state)
        if after is not job:
            self.apply(Step(after, (), None if after.parked_for else granted))
        return not after.parked_for

    def encode_now(self, key: str) -> bytes:
        """Return a job as the commands so far left it, encoded."""
        return self._codec.segments(self._jobs[key]).joined

    def encode(self, key: str) -> bytes:
        """Return a job as the batch left it, encoded; when all commands are decided."""
        if key not in self.encoded:
            self.encoded[key] = self._codec.segments(self._jobs[key])
        return self.encoded[key].joined

    def starting(self, job: Job) -> Job:
        """Return a job of which a chunk is about to be claimed; one that is to begin may have to wait after all."""
        if job.state is not JobState.QUEUED:
            return job
        return reduce(lambda kept, family: family.starting(kept), self._loaded.families.values(), job)

    def has_room_for(self, rows: int) -> bool:
        """Whether so many rows more may be changed; those of one large job may, while the others are few."""
        return self.rows + (rows if rows <= MAX_BATCH_ROWS else 0) <= MAX_BATCH_ROWS

    def family(self, family: type[Family]) -> Family:
        """Return the rows of a family."""
        return cast("Family", self._loaded.families[family])

    def inputs(self, key: str) -> Inputs:
        """Return the inputs of a claimed chunk's job, and of its claimed chunks."""
        return self._inputs.get(key, Inputs())

    def is_new(self, key: str) -> bool:
        """Whether this batch created the job."""
        return key in self.touched and self.touched[key].before is None

    def is_deleted(self, key: str) -> bool:
        """Whether this batch deleted the job."""
        return key in self.touched and self.touched[key].deleted

    # What commands do

    def create(self, step: Step, inputs: Inputs) -> None:
        """Add a new job with its chunks; raises PostponedError when this batch deleted one with the same key.

        Raises JobUnreadable when one with the same key exists and cannot be read.
        """
        if self.is_deleted(step.job.key):
            raise PostponedError
        self.check_readable(step.job.key)
        self.apply(step)
        self.touched[step.job.key].inputs = inputs

    def apply(self, step: Step) -> None:
        """Store the outcome of a decision. A job's revision rises once a batch."""
        job, change = step.job, step.change
        key = job.key
        before, touched, rows = self._jobs.get(key), self.touched.get(key), len(step.chunks)
        if touched is None:
            touched = Touched(before)
            self.undo.put(self.touched, key, touched)
            rows += 1
        held = touched.size
        if before is None or _moved(before) != _moved(job):
            job = self._as_kept(before, job)
        if change is not None:
            job = self._record_change(touched, change, job)
        job = _with_version(before, job, job.revision)
        self._count(rows + _moved_rows(before, job))
        self.undo.put(self._jobs, key, job)
        if job.revision == 1 and touched.before is None and not touched.chunks:
            # its event lists the chunks as ranges, or they are few and small
            touched.chunks = {chunk.index: chunk for chunk in step.chunks}
            self.undo.put(self._chunks, key, dict(touched.chunks))
            return
        for chunk in step.chunks:
            self._put(touched, chunk, job)
            if change is not None and change.type is ChangeType.CLAIMED:
                self.mark_claimed((key, chunk.index))
        if step.sweep is not None:
            self._sweep(touched, job, step.sweep)
        if before is not None and job.spec.finalizer_work is not None:
            self._offer_finalizer(touched, before, job)
        if held:
            self._check_size(touched, job)

    def _record_change(self, touched: Touched, change: Change, job: Job) -> Job:
        """Append a change and return the job that it leaves, whose revision rises with the first.

        A commit has progress by one worker on one chunk once.
        """
        if not touched.changes:
            job = replace(job, revision=job.revision + 1, update_time=max(self.now, job.update_time))
        elif change.type is ChangeType.PROGRESSED and touched.changes[-1] == change:
            return job
        self.undo.append(touched.changes, change)
        self.undo.assign(touched, "size", touched.size + bytes_of_change(change))
        if change.to_state is JobState.FAILED and change.from_state is not JobState.FAILED:
            self.undo.append(touched.failures, job.error or NO_ERROR)
        return job

    def _check_size(self, touched: Touched, job: Job) -> None:
        """Note when the event of a job may be larger than one commit allows.

        A job without artifacts is less than half of that by the bounds of its fields, and is not measured.
        """
        if not job.artifacts and touched.size < MAX_EVENT_BYTES // 2:
            return
        if touched.size + bytes_of_job(job) > MAX_EVENT_BYTES:
            self.undo.assign(self, "exceeded", value=True)

    def _offer_finalizer(self, touched: Touched, before: Job, job: Job) -> None:
        """Offer the finalizer of a job to claims when it became claimable."""
        finalizer = finalizer_of(job)
        if before.finalizer_waits and job.finalizer_is_next and self._loaded.is_readable(finalizer):
            self._put(touched, self.chunk(*finalizer), job)
            self._loaded.offer(finalizer)

    def _as_kept(self, before: Job | None, job: Job) -> Job:
        """Return a job as the families that change jobs let it be kept."""
        for family in self._loaded.changing:
            job = family.changed(before, job)
        if self._loaded.parked and before is not None and before.slots and not job.slots:
            self.undo.assign(self, "_freed_slots", value=True)
        return job

    def _put(self, touched: Touched, chunk: Chunk, job: Job) -> None:
        """Set a changed chunk; when another attempt begins, keep what the earlier one left."""
        known, index = self._chunks.setdefault(job.key, {}), chunk.index
        old = known.get(index)
        chunk = _with_version(old, chunk, job.revision)
        was_put = touched.chunks.get(index)
        grown = bytes_of_chunk(chunk) - (0 if was_put is None else bytes_of_chunk(was_put))
        self.undo.assign(touched, "size", touched.size + grown)
        self.undo.put(touched.chunks, index, chunk)
        if old is not None:
            if index not in touched.earlier:
                self.undo.put(touched.earlier, index, old)
            if chunk.attempt_number > old.attempt_number and has_ended_attempt(old):
                self.undo.append(touched.attempts, old)
        self.undo.put(known, index, chunk)

    def _sweep(self, touched: Touched, job: Job, sweep: Sweep) -> None:
        """Change the loaded chunks one by one, and the others with one statement; a few are loaded first."""
        self._count(sweep.count)
        key = job.key
        known = self._chunks.setdefault(key, {})
        store = self._store_of(key)
        if store is not None and sweep.count < CHUNK_RANGES_FROM:
            for chunk in store.covered(key, sweep):
                known.setdefault(chunk.index, chunk)
        covered = [chunk for chunk in known.values() if sweep.covers(chunk)]
        if store is not None and len(covered) < sweep.count:
            loaded = list(known)
            swept = SweptRows(sweep, loaded, store.ranges(key, sweep, loaded))
            self.undo.assign(touched, "swept", swept)
            self.undo.assign(touched, "size", touched.size + RANGE * len(swept.ranges))
        for chunk in covered:
            self._put(touched, sweep.applied(chunk), job)

    def _count(self, rows: int) -> None:
        self.undo.assign(self, "rows", self.rows + rows)

    def delete(self, job: Job, change: Change) -> None:
        """Delete a job; raises PostponedError when this batch created it."""
        if self.is_new(job.key):
            raise PostponedError
        self.apply(Step(job, (), change))
        self._count(job.counts.total + job.kept_attempts)
        touched = self.touched[job.key]
        self.undo.assign(touched, "deleted", value=True)
        for family in self._loaded.families.values():
            family.deleted(self._jobs[job.key])

    def record_pause(self, queue: Queue, waiting: int) -> None:
        """Record that a kind was paused, with 0, or resumed, with how many claims may get its chunks."""
        self.undo.put(self.pauses, queue, waiting)

    def mark_claimed(self, chunk: ChunkKey) -> None:
        """Record that a worker needs this chunk's inputs."""
        self.undo.put(self._claimed, chunk, None)

    # What the batch leaves

    def fetch_inputs(self) -> None:
        """Load the inputs of the chunks that were claimed, for their workers."""
        if self._claimed:
            self._inputs = self._transaction.inputs(self._claimed)


def _with_version(before: Holder | None, holder: Holder, revision: int) -> Holder:
    """Return a job or a chunk with the revision that last changed its artifacts."""
    if holder.artifacts is (before.artifacts if before else NO_ARTIFACTS):
        return holder
    return replace(holder, artifacts_revision=revision if holder.artifacts else None)


_moved: Final = attrgetter("state", "slots", "parked_for", "held_until")
"""Returns what families hear changes of."""
_place_in_queue: Final = attrgetter("priority", "parked_for", "held_until")
"""Returns what `Job.in_queue` is made from."""


def _moved_rows(before: Job | None, job: Job) -> int:
    """Return the number of attempts to insert, and of waiting chunks whose job's priority or holds changed."""
    if before is None:
        return 0
    kept = job.kept_attempts - before.kept_attempts
    if _place_in_queue(before) == _place_in_queue(job) or before.in_queue == job.in_queue:
        return kept
    return kept + job.counts.pending
