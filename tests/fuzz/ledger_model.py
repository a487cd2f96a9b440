"""The ledger as the documents tell of it, in plain dictionaries: what the machine compares the server with."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from jobledger.v1.chunk_pb2 import ChunkState
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.job_service_pb2 import CancelOutcome
from jobledger.v1.worker_service_pb2 import LeaseStatus

from tests.support.states import (
    CANCEL_REQUESTED,
    CANCELLED,
    CANCELLING,
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    LEASE_LOST,
    OK,
    QUEUED,
    RUNNING,
)

ENDED = (COMPLETED, FAILED, CANCELLED)
OPEN = (CHUNK_PENDING, CHUNK_PROCESSING)


class Refused(Exception):  # noqa: N818 - what a caller is told, not what is wrong here
    """The reason of the refusal that is expected."""


@dataclass(eq=False)
class Chunk:
    """One chunk: `holder` is the latest lease of it, and `ended` how that ended, if its worker ended it.

    `weight` is its part of the percent.
    """

    index: int
    items: int
    max_attempts: int
    weight: float = 0
    state: ChunkState = CHUNK_PENDING
    attempt: int = 0
    percent: int = 0
    task_id: str = ""
    output: int | None = None
    holder: "Lease | None" = None
    ended: str = ""
    tries: list[list[object]] = field(default_factory=list)
    """The task and the outcome of each attempt; of one that lasts, the outcome is empty."""

    @property
    def work(self) -> float:
        """Return how many items, or chunks without items, are done."""
        part = {CHUNK_COMPLETED: 1, CHUNK_PROCESSING: self.percent / 100}.get(self.state, 0)
        return part * self.weight


@dataclass(eq=False)
class Job:
    """One job; `history` has the state after each revision."""

    owner: str
    job_id: str
    kind: str
    number: int
    chunks: list[Chunk]
    priority: int
    attempts: int
    fail_fast: bool
    has_finalizer: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    state: JobState = QUEUED
    retry_count: int = 0
    percent: float = 0
    cancel_reason: str = ""
    error_of: int | None = None
    begins_at: datetime | None = None
    """A time that does not come."""
    uid: str = ""
    etag: str = ""
    """As it was shown; empty when another one is to come."""
    etags: set[str] = field(default_factory=set)
    """All that were shown."""
    output: int | None = None
    """What was declared last; it shows once the job is COMPLETED."""
    history: list[JobState] = field(default_factory=list)
    deleted: bool = False

    @property
    def revision(self) -> int:
        """Return the job's version."""
        return len(self.history)

    def count(self, state: ChunkState) -> int:
        """Return how many chunks are in a state."""
        return sum(chunk.state == state for chunk in self.chunks)

    def finalizer_waits(self) -> bool:
        """Return whether the last chunk waits for the others."""
        *others, last = self.chunks
        return self.has_finalizer and last.state == CHUNK_PENDING and any(c.state != CHUNK_COMPLETED for c in others)

    def claimable(self) -> list[Chunk]:
        """Return the chunks that wait for a worker alone."""
        waiting = [] if self.begins_at else self.in_states((CHUNK_PENDING,))
        return waiting[:-1] if self.finalizer_waits() else waiting

    def in_states(self, states: Iterable[ChunkState]) -> list[Chunk]:
        """Return the chunks in some states."""
        return [chunk for chunk in self.chunks if chunk.state in tuple(states)]


@dataclass(eq=False)
class Lease:
    """A worker's right to a chunk of a job."""

    job: Job
    chunk: Chunk

    def holds(self, owner: str) -> bool:
        """Return whether it is the right of way of this owner now."""
        mine = self.job.owner == owner and not self.job.deleted
        return mine and self.chunk.holder is self and self.chunk.state == CHUNK_PROCESSING

    def ended_by(self, owner: str, how: str) -> bool:
        """Return whether its worker ended it in this way before, and nobody has claimed the chunk since."""
        mine = self.job.owner == owner and not self.job.deleted
        return mine and self.chunk.holder is self and self.chunk.ended == how


Result = tuple[LeaseStatus, ChunkState]


class Ledger:
    """All jobs of all owners. Each call is one commit: a job that it changes has one more revision."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Job] = {}
        self.gone: list[Job] = []
        self.claims: dict[tuple[str, str], list[Lease]] = {}
        """What was leased by the caller and the id of a request."""
        self._number = 0

    def of(self, owner: str) -> list[Job]:
        """Return the jobs of an owner, the oldest first."""
        return sorted((job for job in self.jobs.values() if job.owner == owner), key=lambda job: job.number)

    def job(self, owner: str, job_id: str, uid: str = "", etag: str = "") -> Job:
        """Return a job, which has the uid and the etag if they are given."""
        job = self.jobs.get((owner, job_id))
        if job is None or uid not in ("", job.uid):
            raise Refused("JOB_NOT_FOUND")
        if etag not in ("", job.etag):
            raise Refused("ETAG_MISMATCH")
        return job

    def create(self, job: Job) -> None:
        """Add a job."""
        self._number += 1
        job.number = self._number
        self.jobs[job.owner, job.job_id] = job
        job.history.append(job.state)

    @contextmanager
    def _commit(self, jobs: Iterable[Job], *, by_caller: bool = False) -> Iterator[None]:
        """Give each of the jobs that the block changes one more revision, and a caller or a state another etag."""
        jobs = list(dict.fromkeys(jobs))
        before = [_mark(job) for job in jobs]
        yield
        for job, mark in zip(jobs, before, strict=True):
            if _mark(job) != mark:
                job.history.append(job.state)
                if by_caller or job.state != mark[0]:
                    job.etag = ""

    def waiting(self, owner: str, kinds: Sequence[str]) -> list[tuple[Job, Chunk]]:
        """Return what a claim gets, in order: the most urgent job first, then the oldest, then by index."""
        jobs = [job for job in self.of(owner) if job.kind in kinds]
        jobs.sort(key=lambda job: (-job.priority, job.number))
        return [(job, chunk) for job in jobs for chunk in job.claimable()]

    def claim(self, owner: str, kinds: Sequence[str], limit: int, request: tuple[str, str] | None) -> list[Lease]:
        """Lease what waits, or return what the same request leased before and is still held."""
        before = self.claims.get(request, []) if request else []
        if held := [lease for lease in before if lease.holds(lease.job.owner)]:
            return held
        found = self.waiting(owner, kinds)[:limit]
        with self._commit(job for job, _ in found):
            leases = [self._lease(job, chunk, "") for job, chunk in found]
        if request and leases:
            self.claims[request] = leases
        return leases

    def claim_one(self, owner: str, job_id: str, index: int, task_id: str) -> Lease:
        """Lease one chunk, or return the lease that its task holds."""
        job = self.job(owner, job_id)
        if index >= len(job.chunks):
            raise Refused("CHUNK_NOT_FOUND")
        chunk = job.chunks[index]
        if chunk.state == CHUNK_PROCESSING and task_id and chunk.task_id == task_id and chunk.holder:
            return chunk.holder
        if chunk not in job.claimable():
            raise Refused("CHUNK_NOT_CLAIMABLE")
        with self._commit([job]):
            return self._lease(job, chunk, task_id)

    def _lease(self, job: Job, chunk: Chunk, task_id: str) -> Lease:
        chunk.state, chunk.percent, chunk.ended, chunk.task_id = CHUNK_PROCESSING, 0, "", task_id
        chunk.attempt += 1
        chunk.tries.append([task_id, ""])
        chunk.holder = Lease(job, chunk)
        if job.state == QUEUED:
            job.state = RUNNING
        return chunk.holder

    def heartbeat(self, owner: str, reports: Sequence[tuple[Lease, int]]) -> list[LeaseStatus]:
        """Take the percent of each lease."""
        statuses = []
        with self._commit(lease.job for lease, _ in reports):
            for lease, percent in reports:
                if not lease.holds(owner):
                    statuses.append(LEASE_LOST)
                    continue
                lease.chunk.percent = max(lease.chunk.percent, percent)
                _sum_up(lease.job)
                statuses.append(CANCEL_REQUESTED if lease.job.state == CANCELLING else OK)
        return statuses

    def end(
        self, owner: str, leases: Sequence[Lease], how: str, percent: int | None, output: int | None
    ) -> list[Result]:
        """End leases: "complete", "fail", "fail for good" or "release".

        `percent` is the last report of each, and `output` what a completion declares for the chunk and for its job.
        """
        with self._commit(lease.job for lease in leases):
            return [self._end(owner, lease, how, percent or 0, output) for lease in leases]

    def _end(self, owner: str, lease: Lease, how: str, percent: int, output: int | None) -> Result:
        job, chunk, kind = lease.job, lease.chunk, how.partition(" ")[0]
        if lease.ended_by(owner, kind):
            return OK, chunk.state
        if not lease.holds(owner):
            return LEASE_LOST, ChunkState.CHUNK_STATE_UNSPECIFIED
        chunk.percent, chunk.ended = max(chunk.percent, percent), kind
        chunk.tries[-1][1] = {"complete": "COMPLETED", "fail": "FAILED", "release": "RELEASED"}[kind]
        _sum_up(job)
        stopping = job.state == CANCELLING
        match kind:
            case "complete":
                chunk.state, chunk.output = CHUNK_COMPLETED, output
                job.output = job.output if output is None else output
            case "release":
                chunk.state = CHUNK_CANCELLED if stopping else CHUNK_PENDING
                chunk.attempt -= 0 if stopping else 1
            case _ if stopping:
                chunk.state = CHUNK_CANCELLED
            case _:
                for_good = how == "fail for good" or chunk.attempt >= chunk.max_attempts
                chunk.state = CHUNK_FAILED if for_good else CHUNK_PENDING
                if for_good:
                    _failed(job, chunk)
        _settle(job)
        return OK, chunk.state

    def cancel(self, owner: str, job_id: str, reason: str, *, force: bool, **demanded: str) -> CancelOutcome:
        """Stop a job; the grace period is the same, and long, in every call."""
        job = self.job(owner, job_id, **demanded)
        if job.state in ENDED:
            return CancelOutcome.CANCEL_OUTCOME_ALREADY_ENDED
        with self._commit([job], by_caller=True):
            _stop(job.in_states(OPEN if force else (CHUNK_PENDING,)))
            job.cancel_reason = reason or job.cancel_reason
            job.state = CANCELLING
            _settle(job)
        ended = job.state == CANCELLED
        return CancelOutcome.CANCEL_OUTCOME_CANCELLED if ended else CancelOutcome.CANCEL_OUTCOME_REQUESTED

    def retry(self, owner: str, job_id: str, indexes: Sequence[int], **demanded: str) -> Job:
        """Begin another run, or run failed chunks of this one again."""
        job = self.job(owner, job_id, **demanded)
        ended = job.state in ENDED
        if job.state == COMPLETED:
            raise Refused("JOB_ENDED")
        if job.state == CANCELLING or not (ended or indexes):
            raise Refused("JOB_NOT_ENDED")
        for index in indexes:
            if index >= len(job.chunks):
                raise Refused("CHUNK_NOT_FOUND")
            if job.chunks[index].state not in ((CHUNK_FAILED, CHUNK_CANCELLED) if ended else (CHUNK_FAILED,)):
                raise Refused("NOTHING_TO_RETRY")
        again = [
            chunk for chunk in job.in_states((CHUNK_FAILED, CHUNK_CANCELLED)) if not indexes or chunk.index in indexes
        ]
        left = len(job.in_states((CHUNK_FAILED, CHUNK_CANCELLED))) - len(again)
        if not again or (job.has_finalizer and job.chunks[-1] in again and left):
            raise Refused("NOTHING_TO_RETRY")
        if job.has_finalizer and job.chunks[-1] not in again and left == 1:
            again.append(job.chunks[-1])
        with self._commit([job], by_caller=True):
            for chunk in again:
                chunk.state, chunk.max_attempts = CHUNK_PENDING, chunk.attempt + job.attempts
            if ended:
                job.state, job.percent, job.cancel_reason = QUEUED, 0, ""
                job.retry_count += 1
                job.begins_at = None
            job.error_of = next((chunk.index for chunk in job.in_states((CHUNK_FAILED,))), None)
            _sum_up(job)
        return job

    def update(
        self, owner: str, job_id: str, priority: int | None, labels: dict[str, str] | None, **demanded: str
    ) -> Job:
        """Change the priority, or the labels."""
        job = self.job(owner, job_id, **demanded)
        changed = priority not in (None, job.priority) or labels not in (None, job.labels)
        if changed and priority is not None and job.state in ENDED:
            raise Refused("JOB_ENDED")
        with self._commit([job], by_caller=True):
            job.priority = job.priority if priority is None else priority
            job.labels = job.labels if labels is None else labels
        return job

    def reschedule(self, owner: str, job_id: str, time: datetime | None) -> Job:
        """Let a job wait for another time, or begin."""
        job = self.job(owner, job_id)
        if time != job.begins_at and (job.state != QUEUED or job.retry_count):
            raise Refused("JOB_STARTED")
        with self._commit([job], by_caller=True):
            job.begins_at = time
        return job

    def delete(self, owner: str, job_id: str, *, force: bool, **demanded: str) -> None:
        """Remove a job."""
        job = self.job(owner, job_id, **demanded)
        if job.state not in ENDED and not force:
            raise Refused("JOB_NOT_ENDED")
        job.deleted = True
        del self.jobs[owner, job_id]
        self.gone.append(job)


def _mark(job: Job) -> tuple[object, ...]:
    chunks = [(c.state, c.attempt, c.percent, c.holder, c.max_attempts) for c in job.chunks]
    return job.state, job.priority, dict(job.labels), job.cancel_reason, job.retry_count, job.begins_at, chunks


def _stop(chunks: Iterable[Chunk]) -> None:
    for chunk in chunks:
        if chunk.state == CHUNK_PROCESSING:
            chunk.ended, chunk.tries[-1][1] = "", "CANCELLED"
        chunk.state = CHUNK_CANCELLED


def _failed(job: Job, chunk: Chunk) -> None:
    job.error_of = chunk.index if job.error_of is None else job.error_of
    if job.fail_fast:
        _stop(job.in_states(OPEN))


def _settle(job: Job) -> None:
    """Bring a job of which nothing is open any more to its end."""
    _sum_up(job)
    if job.finalizer_waits() and len(job.in_states(OPEN)) == 1:
        _stop(job.chunks[-1:])
    if job.state in ENDED or job.in_states(OPEN):
        return
    if not job.count(CHUNK_FAILED) and not job.count(CHUNK_CANCELLED):
        job.state, job.percent = COMPLETED, 100
    elif job.count(CHUNK_FAILED) and job.state != CANCELLING:
        job.state = FAILED
    else:
        job.state = CANCELLED


def _sum_up(job: Job) -> None:
    """Raise the job's percent, which never falls while a run lasts."""
    total = sum(chunk.weight for chunk in job.chunks)
    job.percent = max(job.percent, 100 * sum(chunk.work for chunk in job.chunks) / total)
