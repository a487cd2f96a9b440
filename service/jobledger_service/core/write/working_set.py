"""The rows of one batch, changed in memory by each command in turn."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar, cast

from msgspec.structs import replace

from jobledger_service.core.codec import Codec
from jobledger_service.core.model.attempts import has_ended_attempt
from jobledger_service.core.model.bounds.limits import CHUNK_RANGES_FROM
from jobledger_service.core.model.bounds.sizes import RANGE, bytes_of_change, bytes_of_chunk, bytes_of_job
from jobledger_service.core.model.chunk import NO_ARTIFACTS, Chunk, ChunkKey, Queue, WorkError
from jobledger_service.core.model.history.change import SERVICE_ACTOR, Change, ChangeType, JobDelta, Step
from jobledger_service.core.model.job import Inputs, Job, job_key
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import ChunkNotFound, JobNotFound, JobUnreadable
from jobledger_service.core.model.states import UNFINISHED, JobState
from jobledger_service.core.model.sweep import Sweep, SweptChunks

from .loaded_rows import LoadedRows, finalizer_of
from .picking import ClaimQuery, Picked
from .postponed import Postponed
from .row_families import ArtifactRemover, RowFamily
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

_moved: Final = attrgetter("state", "slots", "parked_for", "held_until", "artifact_bytes")
"""Returns the attributes whose changes `Guard.changed` is called for."""
_place_in_queue: Final = attrgetter("priority", "parked_for", "held_until")
"""Returns what `Job.in_queue` is made from."""


class WorkingSet:
    """A batch's jobs and chunks; `undo` undoes what a refused command did."""

    def __init__(self, loaded: LoadedRows, codec: Codec, now: Micros, calendar: Micros) -> None:
        self.now = now
        self.calendar = calendar
        """The time that dates of callers are compared with."""
        self.rows = 0
        """About how many rows the commands so far change."""
        self.max_rows = MAX_BATCH_ROWS
        """About how many they may change: more when one command, or one item of a command, is larger than a batch."""
        self.undo = loaded.undo
        self.deltas: dict[str, JobDelta] = {}
        """What the batch does to each job that it changes."""
        self.encoded: dict[str, JobSegments] = {}
        """Jobs as the batch left them, encoded."""
        self.pauses: dict[Queue, int] = {}
        """The queues that were paused, with 0, or resumed, with the number of their waiting chunks."""
        self._codec = codec
        self._loaded, self._jobs, self._chunks = loaded, loaded.jobs, loaded.chunks
        self._transaction = loaded.transaction
        self._claimed: dict[ChunkKey, None] = {}
        self._inputs: Mapping[str, Inputs] = {}
        self._is_first = True
        """Whether the current command, or item of one, is the first that changes something."""
        self._freed_slots = False
        """Whether slots came free since the last claim."""

    # What commands read

    def job(self, owner: str, job_id: str, uid: str = "") -> Job:
        """Return the owner's job as the earlier commands left it, if it has the `uid` or that is empty.

        Raises JobNotFound, JobUnreadable.
        """
        key = job_key(owner, job_id)
        job = self.find(key)
        if job is None:
            self.check_readable(key)
        if job is None or (uid and uid != job.spec.uid):
            raise JobNotFound(job_id, uid)
        return job

    def check_readable(self, key: str) -> None:
        """Raise JobUnreadable for a job that exists and cannot be read."""
        self._loaded.check_readable(key)

    def find(self, key: str) -> Job | None:
        """Return a loaded job; None also for one that cannot be read."""
        delta = self.deltas.get(key)
        return None if delta and delta.deleted else self._jobs.get(key)

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

    def with_artifacts(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs, which this batch may have deleted, that have artifacts, also by their chunks."""
        stored = self._transaction.with_versions(job.key for job in jobs)
        loaded = {key for key, chunks in self._chunks.items() if any(chunk.artifacts for chunk in chunks.values())}
        return [job for job in jobs if job.artifacts or job.key in stored or job.key in loaded]

    def _store_of(self, key: str) -> Transaction | None:
        """Return the transaction when the store has chunks of a job that are not loaded; raises Postponed.

        The store's answers are from before the batch, and invalid after it changed them by a statement.
        """
        delta = self.deltas.get(key)
        if delta is None:
            return self._transaction
        if delta.swept is not None or delta.more_attempts:
            raise Postponed
        return None if delta.before is None else self._transaction

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
        after = reduce(lambda kept, guard: guard.with_slots(kept), self._loaded.guards, job)
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
        """Return a job of which a chunk is about to be claimed; a job that has not begun may be parked instead."""
        if job.state is not JobState.QUEUED:
            return job
        return reduce(lambda kept, guard: guard.starting(kept), self._loaded.guards, job)

    def has_room_for(self, rows: int) -> bool:
        """Whether the batch has room for a command, or an item of one, that changes about this many rows.

        It has room for one item that is larger than a batch, and for MAX_BATCH_ROWS of the others together.
        """
        return self.max_rows == MAX_BATCH_ROWS if rows > MAX_BATCH_ROWS else self.rows + rows <= self.max_rows

    def family(self, family: type[Family]) -> Family:
        """Return the rows of a family."""
        return cast("Family", self._loaded.families[family])

    def inputs(self, key: str) -> Inputs:
        """Return the inputs of a claimed chunk's job, and of its claimed chunks."""
        return self._inputs.get(key, Inputs())

    def is_new(self, key: str) -> bool:
        """Whether this batch created the job."""
        return key in self.deltas and self.deltas[key].before is None

    def is_deleted(self, key: str) -> bool:
        """Whether this batch deleted the job."""
        return key in self.deltas and self.deltas[key].deleted

    # What commands do

    def begin(self, rows: int) -> None:
        """Begin a command, or an item of one, of about this many rows; raises Postponed without room for it."""
        if not self.has_room_for(rows):
            raise Postponed
        if rows > MAX_BATCH_ROWS:
            self.undo.assign(self, "max_rows", MAX_BATCH_ROWS + rows)
        self._is_first = not self.rows

    def create(self, step: Step, inputs: Inputs) -> None:
        """Add a new job with its chunks; raises Postponed when this batch deleted one with the same key.

        Raises JobUnreadable when one with the same key exists and cannot be read.
        """
        if self.is_deleted(step.job.key):
            raise Postponed
        self.check_readable(step.job.key)
        self.apply(step)
        self.deltas[step.job.key].inputs = inputs

    def apply(self, step: Step) -> None:
        """Store the outcome of a decision. A job's revision rises once a batch.

        Raises Postponed when the event of the job becomes larger than one commit allows, unless it is by the first
        command of the batch.
        """
        job, change = step.job, step.change
        key = job.key
        before, delta, rows = self._jobs.get(key), self.deltas.get(key), len(step.chunks)
        if delta is None:
            delta = JobDelta(before, job)
            self.undo.put(self.deltas, key, delta)
            rows += 1
        had_size = delta.size
        if before is None or _moved(before) != _moved(job):
            job = self._as_kept(before, job)
        if change is not None:
            job = self._record_change(delta, change, job)
        job = _with_version(before, job, job.revision)
        self._count(rows + _moved_rows(before, job))
        self.undo.put(self._jobs, key, job)
        self.undo.assign(delta, "job", job)
        if job.revision == 1 and delta.before is None and not delta.chunks:
            # its event lists the chunks as ranges, or they are few and small
            delta.chunks = {chunk.index: chunk for chunk in step.chunks}
            self.undo.put(self._chunks, key, dict(delta.chunks))
            return
        for chunk in step.chunks:
            self._put(delta, chunk, job)
            if change is not None and change.type is ChangeType.CLAIMED:
                self.mark_claimed((key, chunk.index))
        if step.sweep is not None or step.more_attempts:
            self._change_others(delta, job, step)
        if before is not None and job.spec.finalizer_work is not None:
            self._offer_finalizer(delta, before, job)
        if had_size and not self._is_first:
            self._check_size(delta)

    def _record_change(self, delta: JobDelta, change: Change, job: Job) -> Job:
        """Append a change and return the job that it leaves, whose revision rises with the first.

        A commit has progress by one worker on one chunk once.
        """
        if not delta.changes:
            job = replace(job, revision=job.revision + 1, update_time=max(self.now, job.update_time))
            if not job.etag_revision or change.changes_etag:
                job = replace(job, etag_revision=job.revision, etag_time=job.update_time)
        elif change.changes_etag and job.etag_revision != job.revision:
            job = replace(job, etag_revision=job.revision, etag_time=job.update_time)
        elif change.type is ChangeType.PROGRESSED and delta.changes[-1] == change:
            return job
        self.undo.append(delta.changes, change)
        self.undo.assign(delta, "size", delta.size + bytes_of_change(change))
        if change.to_state is JobState.FAILED and change.from_state is not JobState.FAILED:
            self.undo.append(delta.failures, job.error or NO_ERROR)
        return job

    def _check_size(self, delta: JobDelta) -> None:
        """Raise Postponed when the event of a job may be larger than one commit allows.

        A job without artifacts is less than half of that by the bounds of its fields, and is not measured.
        """
        job = delta.job
        if not job.artifacts and delta.size < MAX_EVENT_BYTES // 2:
            return
        if delta.size + bytes_of_job(job) > MAX_EVENT_BYTES:
            raise Postponed

    def _offer_finalizer(self, delta: JobDelta, before: Job, job: Job) -> None:
        """Offer the finalizer of a job to claims when it became claimable."""
        finalizer = finalizer_of(job)
        if before.finalizer_waits and job.finalizer_is_next and self._loaded.is_readable(finalizer):
            self._put(delta, self.chunk(*finalizer), job)
            self._loaded.offer(finalizer)

    def _as_kept(self, before: Job | None, job: Job) -> Job:
        """Return a job as the families that change jobs let it be kept."""
        for guard in self._loaded.changing:
            job = guard.changed(before, job)
        if self._loaded.parked and before is not None and before.slots and not job.slots:
            self.undo.assign(self, "_freed_slots", value=True)
        return job

    def _put(self, delta: JobDelta, chunk: Chunk, job: Job) -> None:
        """Set a changed chunk; when another attempt begins, keep what the earlier one left."""
        known, index = self._chunks.setdefault(job.key, {}), chunk.index
        old = known.get(index)
        chunk = _with_version(old, chunk, job.revision)
        was_put = delta.chunks.get(index)
        grown = bytes_of_chunk(chunk) - (0 if was_put is None else bytes_of_chunk(was_put))
        self.undo.assign(delta, "size", delta.size + grown)
        self.undo.put(delta.chunks, index, chunk)
        if old is not None:
            if index not in delta.earlier:
                self.undo.put(delta.earlier, index, old)
            if chunk.attempt_number > old.attempt_number and has_ended_attempt(old):
                self.undo.append(delta.attempts, old)
        self.undo.put(known, index, chunk)

    def _change_others(self, delta: JobDelta, job: Job, step: Step) -> None:
        """Change the chunks that a step does not name."""
        if step.sweep is not None:
            self._sweep(delta, job, step.sweep)
        if step.more_attempts:
            self._raise_attempts(delta, job, step.more_attempts)

    def _sweep(self, delta: JobDelta, job: Job, sweep: Sweep) -> None:
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
            swept = SweptChunks(sweep, loaded, store.ranges(key, sweep, loaded))
            self.undo.assign(delta, "swept", swept)
            self.undo.assign(delta, "size", delta.size + RANGE * len(swept.ranges))
        for chunk in covered:
            self._put(delta, sweep.applied(chunk), job)

    def _raise_attempts(self, delta: JobDelta, job: Job, more: int) -> None:
        """Raise the maximum of attempts of chunks that are not ended: of loaded ones here, of others by a statement."""
        counts, known = job.counts, self._chunks.get(job.key, {})
        self._count(counts.pending + counts.processing)
        unfinished = [chunk for chunk in known.values() if chunk.state in UNFINISHED]
        if len(unfinished) < counts.pending + counts.processing and self._store_of(job.key) is not None:
            self.undo.assign(delta, "more_attempts", more)
        for chunk in unfinished:
            self._put(delta, replace(chunk, max_attempts=chunk.max_attempts + more), job)

    def _count(self, rows: int) -> None:
        self.undo.assign(self, "rows", self.rows + rows)

    def delete(self, job: Job, change: Change) -> None:
        """Delete a job; raises Postponed when this batch created it."""
        if self.is_new(job.key):
            raise Postponed
        self.apply(Step(job, (), change))
        self._count(job.counts.total + job.kept_attempts)
        self.undo.assign(self.deltas[job.key], "deleted", value=True)
        for guard in self._loaded.guards:
            guard.deleted(self._jobs[job.key])

    def remove_artifacts(self, deleted: Sequence[Job], actor: str) -> str | None:
        """Create the job that deletes the artifacts of jobs of one owner that this batch has deleted, for an actor.

        Return its key, None when there are no artifacts.
        """
        removers = (family for family in self._loaded.families.values() if isinstance(family, ArtifactRemover))
        return next(removers).begin(self, deleted, actor)

    def record_pause(self, queue: Queue, waiting: int) -> None:
        """Record that a kind was paused, with 0, or resumed, with the number of its waiting chunks."""
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


def _moved_rows(before: Job | None, job: Job) -> int:
    """Return the number of attempts to insert, and of waiting chunks whose job's priority or holds changed."""
    if before is None:
        return 0
    kept = job.kept_attempts - before.kept_attempts
    if _place_in_queue(before) == _place_in_queue(job) or before.in_queue == job.in_queue:
        return kept
    return kept + job.counts.pending
