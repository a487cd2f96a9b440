"""The rows of one batch: loaded at once, changed in memory by each command in turn, written at once."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, reduce
from operator import attrgetter
from typing import Final, TypeVar, cast

from msgspec import Struct as MsgStruct
from msgspec import field
from msgspec.structs import replace

from jobledger_service.core.model.change import SERVICE_ACTOR, Change, ChangeType, JobDelta, Step
from jobledger_service.core.model.chunk import NO_ARTIFACTS, Chunk, ChunkKey, Queue
from jobledger_service.core.model.errors import ChunkNotFound, JobNotFound, JobUnreadable
from jobledger_service.core.model.job import Inputs, Job, job_key
from jobledger_service.core.model.limits import CHUNK_RANGES_FROM
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.sweep import Sweep
from jobledger_service.core.store.entry import Entry, JobSegments, Record
from jobledger_service.core.store.writes import SweptRows, Writes
from jobledger_service.core.store.writing import Transaction

from .codec import Codec
from .fleet_turns import FleetTurns
from .loaded_rows import LoadedRows
from .offers import Offers, finalizer_of
from .pauses import Pauses
from .picking import ClaimQuery, Picked
from .row_families import Needs, OpenFamily, PostponedError, RowFamily, open_families
from .stored_chunks import StoredChunks
from .touched import Touched
from .undo import Undo

Family = TypeVar("Family", bound=RowFamily)
Holder = TypeVar("Holder", Job, Chunk)
"""What has artifacts."""

MAX_BATCH_ROWS: Final = 2_000
"""Rows after which a batch ends: a transaction of them takes 0.05 to 0.1 s."""


class BatchChanges(MsgStruct):
    """What a batch leaves, when all its commands are decided."""

    touched: list[str] = []
    """The keys of all jobs that it changed."""
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
    pauses: dict[Queue, int] = {}
    """The queues that were paused, and those that were resumed with so many waiting chunks."""


class WorkingSet:
    """A batch's jobs and chunks; `undo` undoes what a refused command did.

    A job that has not changed for `quiet` microseconds is kept with its next event as it was before it.
    """

    def __init__(
        self,
        transaction: Transaction,
        families: Iterable[OpenFamily],
        quiet: int,
        codec: Codec,
        fleet_turns: FleetTurns,
    ) -> None:
        self.now = 0  # set when all rows are locked
        self.rows = 0
        """About how many rows the commands so far change."""
        self.row_budget = MAX_BATCH_ROWS
        """How many rows a command may change that can be carried out in parts."""
        self.exceeded = False
        """Whether what the batch changes on one job is larger than one commit allows."""
        self._quiet = quiet
        self._transaction = transaction
        self._codec = codec
        self._segments: dict[str, JobSegments] = {}
        self._loaded = LoadedRows(transaction, fleet_turns)
        self._jobs, self._chunks = self._loaded.jobs, self._loaded.chunks
        self._touched: dict[str, Touched] = {}
        self._claimed: dict[ChunkKey, None] = {}
        self._inputs: Mapping[str, Inputs] = {}
        self.undo = Undo()
        self._offers = Offers(self._loaded, self.undo)
        self._freed_slots = False
        """Whether slots came free since the last claim."""
        self.pauses = Pauses(transaction, self._jobs, self.undo)
        self._open_families = families

    @cached_property
    def _families(self) -> list[RowFamily]:
        """The rows of families, by rank; a batch that only reports progress has none."""
        return open_families(self._open_families, self._transaction, self.undo)

    @cached_property
    def _by_type(self) -> dict[type[RowFamily], RowFamily]:
        return {type(family): family for family in self._families}

    @cached_property
    def _changing(self) -> list[RowFamily]:
        """The families that change jobs, by rank."""
        return [family for family in self._families if type(family).changed is not RowFamily.changed]

    def load(self, needs: Iterable[Needs]) -> None:
        """Load what the commands need: jobs are locked in order, then claims take what is free, then families lock."""
        needs = list(needs)
        chunks = {key for need in needs for key in need.chunks}
        jobs = {key for need in needs for key in need.jobs}
        families = self._families if any(map(_needs_families, needs)) else ()
        for family in families:
            jobs.update(family.find_jobs(needs))
            chunks.update(family.find_chunks())
        jobs.update(key for key, _ in chunks)
        self._loaded.lock(jobs)
        queries = [need.claim_query for need in needs if need.claim_query]
        if queries:
            self._offers.lock_parked(chunks)
            needs.append(Needs(jobs=tuple(self._offers.parked), requeues=True))
        chunks |= self._offers.may_follow(chunks)
        self._loaded.load(chunks, queries)
        for family in families:
            family.load(needs, self._jobs)

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
        touched = self._touched.get(key)
        return None if touched and touched.deleted else self._jobs.get(key)

    def last(self, key: str) -> Job:
        """Return a job as the batch left it, even if it was deleted."""
        return self._jobs[key]

    def chunk(self, job: Job, index: int) -> Chunk:
        """Return a loaded chunk; raises ChunkNotFound, JobUnreadable."""
        chunk = self._chunks.get(job.key, {}).get(index)
        if chunk is None:
            if (job.key, index) in self._transaction.unreadable:
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
        touched = self._touched.get(key)
        if touched is None:
            return self._transaction
        if touched.swept is not None:
            raise PostponedError
        return None if touched.before is None else self._transaction

    def picked(self, query: ClaimQuery) -> Picked:
        """Return the chunks for the next claim with this query, with those that became claimable in this batch."""
        if self._freed_slots:
            self.undo.assign(self, "_freed_slots", value=False)
            for key in self._offers.parked:
                job = self.find(key)
                if job is not None and self.rows + job.counts.pending >= MAX_BATCH_ROWS:
                    break  # the duty of limits grants it, before those that are less urgent
                if job is not None and self.grant_slots(job):
                    self._offers.add((key, 0))
        return self._offers.added_to(self._loaded.next_picked(query), query, self.pauses.cover)

    def grant_slots(self, job: Job) -> bool:
        """Give a job that waits for a slot its slots if they are free, or else let it wait for the one that is not."""
        if not job.parked_for:
            return False
        after = reduce(lambda kept, family: family.with_slots(kept), self._families, job)
        granted = Change(ChangeType.SLOT_GRANTED, SERVICE_ACTOR, job.state, job.state)
        if after is not job:
            self.apply(Step(after, (), None if after.parked_for else granted))
        return not after.parked_for

    def encoded(self, key: str) -> bytes:
        """Return a job as the commands so far left it, encoded."""
        return self._codec.segments(self._jobs[key]).joined

    def starting(self, job: Job) -> Job:
        """Return a job of which a chunk is about to be claimed; one that is to begin may have to wait after all."""
        if job.state is not JobState.QUEUED:
            return job
        return reduce(lambda kept, family: family.starting(kept), self._families, job)

    def has_room_for(self, rows: int) -> bool:
        """Whether so many rows more may be changed; those of one large job may, while the others are few."""
        return self.rows + (rows if rows <= MAX_BATCH_ROWS else 0) <= MAX_BATCH_ROWS

    def family(self, family: type[Family]) -> Family:
        """Return the rows of a family."""
        return cast("Family", self._by_type[family])

    def inputs(self, key: str) -> Inputs:
        """Return the inputs of a claimed chunk's job, and of its claimed chunks."""
        return self._inputs.get(key, Inputs())

    def is_new(self, key: str) -> bool:
        """Whether this batch created the job."""
        return key in self._touched and self._touched[key].before is None

    def is_deleted(self, key: str) -> bool:
        """Whether this batch deleted the job."""
        return key in self._touched and self._touched[key].deleted

    # What commands do

    def create(self, step: Step, inputs: Inputs) -> None:
        """Add a new job with its chunks; raises PostponedError when this batch deleted one with the same key.

        Raises JobUnreadable when one with the same key exists and cannot be read.
        """
        if self.is_deleted(step.job.key):
            raise PostponedError
        self.check_readable(step.job.key)
        self.apply(step)
        self._touched[step.job.key].inputs = inputs

    def apply(self, step: Step) -> None:
        """Store the outcome of a decision. A job's revision rises once a batch."""
        key = step.job.key
        before, touched = self._jobs.get(key), self._touched.get(key)
        if touched is None:
            touched = Touched(before=before)
            self.undo.put(self._touched, key, touched)
            self._count(1)
        held = touched.size
        job = step.job
        if before is None or _moved(before) != _moved(job):
            job = self._as_kept(before, job)
        if step.change is not None:
            if not touched.changes:
                job = replace(job, revision=job.revision + 1, update_time=max(self.now, job.update_time))
            touched.record_change(step.change, job, self.undo)
        job = _with_version(before, job, job.revision)
        self._count(len(step.chunks) + _moved_in_queue(before, job) + _new_attempts(before, job))
        self.undo.put(self._jobs, key, job)
        if job.revision == 1 and touched.before is None and not touched.chunks:
            self.undo.put(self._chunks, key, touched.create(step.chunks))
            return
        for chunk in step.chunks:
            self._put(touched, chunk)
            if step.change is not None and step.change.type is ChangeType.CLAIMED:
                self.mark_claimed((key, chunk.index))
        self._sweep(touched, key, step.sweep)
        if before is not None and before.finalizer_waits and job.finalizer_is_next:
            self._offer_finalizer(touched, job)
        if held and touched.exceeds(job):
            self.undo.assign(self, "exceeded", value=True)

    def _offer_finalizer(self, touched: Touched, job: Job) -> None:
        finalizer = finalizer_of(job)
        if self._loaded.is_readable(finalizer):
            self._put(touched, self.chunk(job, finalizer[1]))
            self._offers.add(finalizer)

    def _as_kept(self, before: Job | None, job: Job) -> Job:
        """Return a job as families let it be kept."""
        job = reduce(lambda kept, family: family.changed(before, kept), self._changing, job)
        if self._offers.parked and before is not None and before.slots and not job.slots:
            self.undo.assign(self, "_freed_slots", value=True)
        return job

    def _put(self, touched: Touched, chunk: Chunk) -> None:
        known = self._chunks.setdefault(chunk.job_key, {})
        chunk = _with_version(known.get(chunk.index), chunk, self._jobs[chunk.job_key].revision)
        touched.put(chunk, known.get(chunk.index), self.undo)
        self.undo.put(known, chunk.index, chunk)

    def _sweep(self, touched: Touched, key: str, sweep: Sweep | None) -> None:
        """Change the loaded chunks one by one, and the others with one statement; a few are loaded first."""
        if sweep is None:
            return
        self._count(sweep.count)
        known = self._chunks.setdefault(key, {})
        store = self._store_of(key)
        if store is not None and sweep.count < CHUNK_RANGES_FROM:
            for chunk in store.covered(key, sweep):
                known.setdefault(chunk.index, chunk)
        covered = [chunk for chunk in known.values() if sweep.covers(chunk)]
        if store is not None and len(covered) < sweep.count:
            loaded = list(known)
            touched.sweep(SweptRows(sweep, loaded, store.ranges(key, sweep, loaded)), self.undo)
        for chunk in covered:
            self._put(touched, sweep.applied(chunk))

    def _count(self, rows: int) -> None:
        self.undo.assign(self, "rows", self.rows + rows)

    def delete(self, job: Job, change: Change) -> None:
        """Delete a job; raises PostponedError when this batch created it."""
        if self.is_new(job.key):
            raise PostponedError
        self.apply(Step(job, (), change))
        self._count(job.counts.total + job.kept_attempts)
        touched = self._touched[job.key]
        self.undo.assign(touched, "deleted", value=True)
        for family in self._families:
            family.deleted(self._jobs[job.key])

    def mark_claimed(self, chunk: ChunkKey) -> None:
        """Record that a worker needs this chunk's inputs."""
        self.undo.put(self._claimed, chunk, None)

    # What the batch leaves

    def fetch_inputs(self) -> None:
        """Load the inputs of the chunks that were claimed, for their workers."""
        if self._claimed:
            self._inputs = self._transaction.inputs(self._claimed)

    def changes(self) -> BatchChanges:
        """Return what the batch leaves, in one pass over its jobs."""
        left = BatchChanges(list(self._touched), pauses=self.pauses.changed)
        for key, touched in self._touched.items():
            job = self._jobs[key]
            touched.set_holds(job)
            if job is not touched.before:
                touched.write(job, self.segments(key), left.writes)
            touched.write_chunks(job, left.writes)
            if touched.changes:
                record = touched.record(job, quiet_since=self.now - self._quiet)
                left.records.append(record)
                left.entries.append(self._codec.encode(record, self.segments(key)))
            if not touched.is_progress(job):
                left.deltas.append(touched.delta(job))
            if count := touched.ready(job):
                for ready in (left.ready,) if touched.changes else (left.ready, left.ready_without_event):
                    for queue in job.queues:
                        ready[queue] = ready.get(queue, 0) + count
        return left

    def save(self, left: BatchChanges) -> list[type[RowFamily]]:
        """Write all rows, in the order in which all batches lock them; return the families that are due then."""
        self._transaction.save(left.writes)
        if not left.deltas and "_families" not in vars(self):
            return []
        return [type(family) for family in self._families if family.save(left.deltas, self.now)]

    def segments(self, key: str) -> JobSegments:
        """Return a job as the batch left it, encoded; when all commands are decided."""
        found = self._segments.get(key)
        if found is None:
            found = self._segments[key] = self._codec.segments(self._jobs[key])
        return found


def _with_version(before: Holder | None, holder: Holder, revision: int) -> Holder:
    """Return a job or a chunk with the revision that last changed its artifacts."""
    if holder.artifacts is (before.artifacts if before else NO_ARTIFACTS):
        return holder
    return replace(holder, artifacts_revision=revision if holder.artifacts else None)


_moved: Final = attrgetter("state", "slots", "parked_for", "held_until")
"""Returns what families hear changes of."""
_place_in_queue: Final = attrgetter("priority", "parked_for", "held_until")
"""Returns what `Job.in_queue` is made from."""


def _needs_families(need: Needs) -> bool:
    return bool(need.rows or need.new_jobs or need.requeues or need.starts)


def _new_attempts(before: Job | None, job: Job) -> int:
    """Return the number of earlier attempts to insert."""
    return 0 if before is None else job.kept_attempts - before.kept_attempts


def _moved_in_queue(before: Job | None, job: Job) -> int:
    """Return the number of waiting chunks to update because their job's priority or holds changed."""
    if before is None or _place_in_queue(before) == _place_in_queue(job) or before.in_queue == job.in_queue:
        return 0
    return job.counts.pending
