"""The rows of one batch: loaded at once, changed in memory by each command in turn, written at once."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from jobledger_service.domain.change import Change, ChangeType, Step
from jobledger_service.domain.chunk import Artifacts, Chunk
from jobledger_service.domain.errors import ChunkNotFound, JobNotFound
from jobledger_service.domain.filter import Facts
from jobledger_service.domain.job import Job, job_key
from jobledger_service.domain.retention import Retention
from jobledger_service.domain.rollup import Passage
from jobledger_service.domain.run import NEW_RUN, Run
from jobledger_service.domain.service_kinds import is_reserved
from jobledger_service.domain.slots import Limit, limits_over, released
from jobledger_service.domain.states import ChunkState

from .entry import Record
from .picking import Picked, pick
from .ports import ChunkKey, Inputs, Queue
from .slots import Slots
from .undo import Undo
from .write_ports import Demand, Request, Transaction, Writes


class PostponedError(Exception):
    """The command cannot be decided in this batch, but in the next."""


class Needs(Struct, frozen=True):
    """The rows that a command wants loaded before it is decided."""

    jobs: tuple[str, ...] = ()
    chunks: tuple[ChunkKey, ...] = ()
    requests: tuple[str, ...] = ()
    demand: Demand | None = None
    limits: tuple[str, ...] = ()
    admits: bool = False
    """Whether the limits over its jobs are wanted too."""
    runs: tuple[str, ...] = ()


class _Touched(Struct):
    """What the batch has done to one job so far."""

    before: Job | None
    changes: list[Change] = []
    chunks: dict[int, Chunk] = {}
    artifacts: dict[int, Artifacts] = {}
    """Those that chunks had before the batch, for the chunks of which it changed them."""
    inputs: Inputs = Inputs()
    deleted: bool = False


class WorkingSet:
    """A batch's jobs and chunks. What a refused command did is undone by `rollback`."""

    def __init__(self, transaction: Transaction, retention: Retention, quiet: int) -> None:
        self.now = 0  # set when all rows are locked
        self._retention = retention
        self._quiet = quiet
        self._transaction = transaction
        self._jobs: dict[str, Job] = {}
        self._chunks: dict[ChunkKey, Chunk] = {}
        self._requests: dict[str, Request] = {}
        self._picked: dict[Demand, deque[Picked]] = {}
        self._touched: dict[str, _Touched] = {}
        self._new_requests: dict[str, Request] = {}
        self._runs: dict[str, Run] = {}
        self._changed_runs: dict[str, Run] = {}
        self._claimed: dict[ChunkKey, None] = {}
        self._inputs: Mapping[str, Inputs] = {}
        self._undo = Undo()
        self.slots = Slots(self._undo)

    def load(self, needs: Iterable[Needs]) -> None:
        """Load what the commands need: the jobs that they name are locked in order, then claims take what is free."""
        needs = list(needs)
        requests = {key for need in needs for key in need.requests}
        if requests:
            self._requests = self._transaction.requests(requests)
        chunks = {key for need in needs for key in need.chunks}
        jobs = {key for need in needs for key in need.jobs}
        jobs.update(key for key, _ in chunks)
        jobs.update(request.job_key for request in self._requests.values())
        self._lock(jobs)
        if self._jobs.keys() & {key for need in needs if need.requests for key in need.jobs}:
            self._look_again(requests - self._requests.keys())
        found = self._pick(needs)
        self._lock({key for key, _ in found} - jobs)
        if chunks or found:
            self._chunks = self._transaction.chunks(chunks | found)
        self._load_limits(needs)
        runs = {key for need in needs for key in need.runs}
        if runs:
            self._runs = self._transaction.runs(runs)

    def _load_limits(self, needs: Sequence[Needs]) -> None:
        """Load the limits over jobs that are about to wait for workers."""
        keys = {key for need in needs for key in need.limits}
        admitted = {key for need in needs if need.admits for key in need.jobs}
        keys.update(key for job in admitted & self._jobs.keys() for key in limits_over(self._jobs[job]))
        if keys:
            self.slots.load(self._transaction, keys)

    def _look_again(self, requests: set[str]) -> None:
        """Load requests that took effect at another replica while this one waited for its locks on their jobs."""
        if requests:
            self._requests |= self._transaction.requests(requests)
            self._lock({request.job_key for request in self._requests.values()} - self._jobs.keys())

    def _lock(self, jobs: set[str]) -> None:
        if jobs:
            self._jobs |= self._transaction.jobs(jobs)

    def _pick(self, needs: Sequence[Needs]) -> set[ChunkKey]:
        """Find the chunks for the claims, in the order of the claims."""
        demands = [need.demand for need in needs if need.demand]
        if not demands:
            return set()
        transaction = self._transaction
        picked = pick(demands, transaction.waiting_chunks, transaction.lock_free, shared=transaction.shared)
        for demand, one in zip(demands, picked, strict=True):
            self._picked.setdefault(demand, deque()).append(one)
        return {key for one in picked for key in one.chunks}

    # What commands read

    def job(self, owner: str, job_id: str) -> Job:
        """Return the owner's job as the commands before this one left it; raises JobNotFound."""
        job = self.find(job_key(owner, job_id))
        if job is None:
            raise JobNotFound(job_id)
        return job

    def find(self, key: str) -> Job | None:
        """Return a job that was loaded, or None."""
        touched = self._touched.get(key)
        return None if touched and touched.deleted else self._jobs.get(key)

    def last(self, key: str) -> Job:
        """Return a job as the batch left it, even if it was deleted."""
        return self._jobs[key]

    def chunk(self, job: Job, index: int) -> Chunk:
        """Return a chunk that was loaded; raises ChunkNotFound."""
        chunk = self._chunks.get((job.key, index))
        if chunk is None:
            raise ChunkNotFound(job.spec.job_id, index, job.counts.total)
        return chunk

    def chunks_of(self, job: Job) -> list[Chunk]:
        """Return all chunks of a job, by index."""
        key = job.key
        touched = self._touched.get(key)
        if touched and touched.before is None:
            return [touched.chunks[index] for index in sorted(touched.chunks)]
        loaded = self._transaction.chunks_of(key)
        return [self._chunks.setdefault((key, chunk.index), chunk) for chunk in loaded]

    def picked(self, demand: Demand) -> Picked:
        """Return the chunks that were found for a claim with this demand, the next one of those that ask the same."""
        return self._picked[demand].popleft()

    def request(self, key: str) -> Request | None:
        """Return the request that took effect under this key, if one did."""
        return self._requests.get(key)

    def run(self, key: str) -> Run:
        """Return the run of one of the service's own jobs, which was loaded."""
        return self._runs.get(key, NEW_RUN)

    def inputs(self, key: str) -> Inputs:
        """Return the inputs of a claimed chunk's job, and of its claimed chunks."""
        return self._inputs.get(key, Inputs())

    def is_new(self, key: str) -> bool:
        """Whether this batch created the job."""
        return key in self._touched and self._touched[key].before is None

    def is_deleted(self, key: str) -> bool:
        """Whether this batch deleted the job."""
        return key in self._touched and self._touched[key].deleted

    def limits_over(self, job: Job) -> list[Limit]:
        """Return the limits over a job."""
        return [limit for key in limits_over(job) if (limit := self.slots.limit(key)) is not None]

    # What commands do

    def create(self, step: Step, inputs: Inputs) -> None:
        """Add a new job with its chunks; raises PostponedError when this batch deleted one of the same name."""
        if self.is_deleted(step.job.key):
            raise PostponedError
        self.apply(step)
        self._touched[step.job.key].inputs = inputs

    def apply(self, step: Step) -> None:
        """Take the outcome of a decision. A job's revision rises once a batch."""
        key = step.job.key
        touched = self._touched.get(key)
        if touched is None:
            touched = _Touched(before=self._jobs.get(key))
            self._undo.put(self._touched, key, touched)
        job = step.job
        if step.change is not None:
            job = self._retention.applied(self._jobs.get(key), job)
            if not touched.changes:
                job = replace(job, revision=job.revision + 1, update_time=max(self.now, job.update_time))
            self._tell(touched.changes, step.change)
        job = released(job) if job.ended else job
        self.slots.count(self._jobs.get(key), job)
        self._undo.put(self._jobs, key, job)
        for chunk in step.chunks:
            self._note_artifacts(touched, chunk)
            self._undo.put(self._chunks, (key, chunk.index), chunk)
            self._undo.put(touched.chunks, chunk.index, chunk)
            if step.change is not None and step.change.type is ChangeType.CLAIMED:
                self.hand_out((key, chunk.index))

    def _note_artifacts(self, touched: _Touched, chunk: Chunk) -> None:
        old = self._chunks.get((chunk.job_key, chunk.index))
        if old is not None and old.artifacts is not chunk.artifacts and chunk.index not in touched.artifacts:
            self._undo.put(touched.artifacts, chunk.index, old.artifacts)

    def delete(self, job: Job, change: Change) -> None:
        """Remove a job; raises PostponedError when this batch created it."""
        if self.is_new(job.key):
            raise PostponedError
        self.apply(Step(job, (), change))
        touched = self._touched[job.key]
        self._undo.assign(touched, "deleted", value=True)
        self.slots.count(self._jobs[job.key], None)

    def hand_out(self, chunk: ChunkKey) -> None:
        """Note that a worker is to get this chunk with its inputs."""
        self._undo.put(self._claimed, chunk, None)

    def remember(self, key: str, request: Request) -> None:
        """Note that a request took effect."""
        self._undo.put(self._requests, key, request)
        self._undo.put(self._new_requests, key, request)

    def go_on(self, key: str, run: Run) -> None:
        """Note how far a run has come."""
        self._undo.put(self._runs, key, run)
        self._undo.put(self._changed_runs, key, run)

    # Undoing

    def mark(self) -> None:
        """Begin a command: what follows can be rolled back."""
        self._undo.mark()

    def rollback(self) -> None:
        """Undo what was done since the mark."""
        self._undo.rollback()

    def _tell(self, changes: list[Change], change: Change) -> None:
        """Append a change; progress by the same worker on the same chunk is told once a commit."""
        if change.type is ChangeType.PROGRESSED and changes and changes[-1] == change:
            return
        self._undo.append(changes, change)

    # What the batch leaves

    def fetch_inputs(self) -> None:
        """Load the inputs of the chunks that were claimed, for their workers."""
        if self._claimed:
            self._inputs = self._transaction.inputs(self._claimed)

    def writes(self) -> Writes:
        """Return the rows to write."""
        writes = Writes(
            requests=self._new_requests,
            runs={key: run for key, run in self._changed_runs.items() if not self.is_deleted(key)},
            new_limits=self.slots.new,
            limits=self.slots.changed,
            slots=self.slots.taken,
        )
        for key, touched in self._touched.items():
            job = self._jobs[key]
            passage = Passage(touched.before, job, touched.deleted, touched.changes, touched.chunks, touched.artifacts)
            writes.tally.add(passage, self.now)
            if touched.deleted:
                writes.deleted_jobs.append(key)
            elif touched.before is None:
                writes.new_jobs.append((job, touched.inputs))
                writes.new_words.append((key, Facts.of(job).indexed))
                inputs = touched.inputs.chunks
                writes.new_chunks.extend((job, chunk, inputs.get(i)) for i, chunk in touched.chunks.items())
                if is_reserved(job.spec.kind):
                    writes.new_runs.append(key)
            else:
                if job is not touched.before:
                    writes.jobs.append(job)
                    writes.words.extend(_new_words(touched.before, job))
                if job.priority != touched.before.priority:
                    writes.reprioritised.append(job)
                if bool(job.parked_for) != bool(touched.before.parked_for):
                    writes.parked.append(job)
                writes.chunks.extend((job, chunk) for chunk in touched.chunks.values())
        return writes

    def records(self) -> list[Record]:
        """Return what the ledger is to say: one record for each job that changed."""
        return [
            Record(
                before=Facts.of(touched.before) if touched.before else None,
                job=self._jobs[key],
                chunks=[touched.chunks[index] for index in sorted(touched.chunks)],
                changes=touched.changes,
                commit_time=self.now,
                deleted=touched.deleted,
                previous=touched.before if self._was_quiet(touched.before) else None,
            )
            for key, touched in self._touched.items()
            if touched.changes
        ]

    def _was_quiet(self, before: Job | None) -> bool:
        """Whether a job had not changed for so long that the event which shows it as it was may soon be forgotten."""
        return before is not None and before.update_time <= self.now - self._quiet

    def touched(self) -> list[str]:
        """Return the keys of all jobs that the batch wrote to."""
        return list(self._touched)

    def ready(self) -> dict[Queue, int]:
        """Return how many chunks now wait for workers, of those that the batch wrote."""
        return self._ready_of(self._touched)

    def ready_without_event(self) -> dict[Queue, int]:
        """Return those of them of which the ledger tells no change: retries that came due."""
        return self._ready_of(key for key, touched in self._touched.items() if not touched.changes)

    def _ready_of(self, keys: Iterable[str]) -> dict[Queue, int]:
        ready: dict[Queue, int] = {}
        for key in keys:
            job = self._jobs[key]
            if count := _ready_chunks(job, self._touched[key]):
                ready[job.queue] = ready.get(job.queue, 0) + count
        return ready


def _ready_chunks(job: Job, touched: _Touched) -> int:
    if touched.deleted or job.parked_for:
        return 0
    if touched.before is not None and touched.before.parked_for:
        return job.counts.pending
    return sum(c.state is ChunkState.PENDING and c.not_before is None for c in touched.chunks.values())


def _new_words(before: Job, job: Job) -> Iterator[tuple[str, str]]:
    """Yield what full text is to hold of a job, if that changed."""
    was, is_ = ((one.display_name, one.labels, one.error) for one in (before, job))
    if was != is_:
        yield job.key, Facts.of(job).indexed
