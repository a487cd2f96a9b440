"""The commands of WorkerService."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct

from jobledger_service.domain import work as rules
from jobledger_service.domain.change import Step
from jobledger_service.domain.chunk import Chunk, LeaseEnd
from jobledger_service.domain.errors import ChunkNotClaimable, InvalidField
from jobledger_service.domain.job import Job, job_key
from jobledger_service.domain.leases import Lease, ended_by, holds, lease_of
from jobledger_service.domain.service_kinds import is_reserved
from jobledger_service.domain.states import JobState
from jobledger_service.ledger.ports import ChunkKey, Inputs
from jobledger_service.ledger.working import Needs, WorkingSet
from jobledger_service.ledger.write_ports import Demand

from .base import OneJob, Ordinary, Reserved


class Claimed(Struct, frozen=True):
    """A chunk under a new lease, with what its worker needs."""

    job: Job
    chunk: Chunk
    lease: Lease
    inputs: Inputs


def _claimed(keys: Sequence[ChunkKey], work: WorkingSet) -> list[Claimed]:
    claimed = []
    for key, index in keys:
        job = work.last(key)
        chunk = work.chunk(job, index)
        claimed.append(Claimed(job, chunk, lease_of(job, chunk), work.inputs(key)))
    return claimed


class ClaimChunks(Ordinary, Struct, frozen=True):
    """Lease up to `limit` chunks of the given kinds; answers with those that were to be had.

    None, instead of an empty list, says that others were at what waits: there may be more in a moment.
    """

    owner: str
    kinds: tuple[str, ...]
    limit: int
    by: rules.Claim

    def _demand(self) -> Demand:
        return Demand(self.owner, self.kinds, self.limit)

    @property
    def weight(self) -> int:
        return self.limit

    def needs(self) -> Needs:
        return Needs(demand=self._demand())

    def decide(self, work: WorkingSet) -> list[ChunkKey] | None:
        picked = work.picked(self._demand())
        taken = [key for key in picked.chunks if _claim(work, key, self.by)]
        missed = picked.contended or len(taken) < len(picked.chunks)
        return None if missed and not taken else taken

    def answer(self, decided: list[ChunkKey] | None, work: WorkingSet) -> list[Claimed] | None:
        return None if decided is None else _claimed(decided, work)


def _claim(work: WorkingSet, key: ChunkKey, by: rules.Claim) -> bool:
    """Take a chunk that was found, unless a command before this one took it, or stopped or deleted its job."""
    job = work.find(key[0])
    if job is None:
        return False
    try:
        work.apply(rules.claim(job, work.chunk(job, key[1]), by, work.now))
    except ChunkNotClaimable:
        return False
    return True


class ClaimChunk(OneJob, Struct, frozen=True):
    """Lease one named chunk; with the task_id that holds it, answers with the lease in force."""

    owner: str
    job_id: str
    index: int
    by: rules.Claim

    def _key(self) -> ChunkKey:
        return job_key(self.owner, self.job_id), self.index

    def needs(self) -> Needs:
        return Needs(jobs=(self._key()[0],), chunks=(self._key(),))

    def decide(self, work: WorkingSet) -> ChunkKey:
        job = work.job(self.owner, self.job_id)
        chunk = work.chunk(job, self.index)
        if is_reserved(job.spec.kind):
            raise ChunkNotClaimable(self.job_id, self.index, chunk.state, "the service itself works on it")
        held = bool(self.by.task_id) and chunk.task_id == self.by.task_id
        if held and holds(lease_of(job, chunk), job, chunk, work.now):
            work.hand_out(self._key())
        else:
            work.apply(rules.claim(job, chunk, self.by, work.now))
        return self._key()

    def answer(self, decided: ChunkKey, work: WorkingSet) -> Claimed:
        return _claimed([decided], work)[0]


class LeaseStatus(StrEnum):
    """How one lease of a call fared."""

    OK = "OK"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    LEASE_LOST = "LEASE_LOST"


class LeaseAnswer(Struct, frozen=True):
    """How a lease fared; the chunk as it is then, None when the lease is lost."""

    lease: Lease
    status: LeaseStatus
    chunk: Chunk | None = None


def _needs(owner: str, leases: Sequence[Lease]) -> Needs:
    mine = f"{owner}/"
    return Needs(chunks=tuple((lease.job_key, lease.index) for lease in leases if lease.job_key.startswith(mine)))


def _held(work: WorkingSet, owner: str, lease: Lease, *, by_service: bool) -> tuple[Job, Chunk] | None:
    """Return the lease's job and chunk when both are there, of this owner, and not the service's own but for itself."""
    job = work.find(lease.job_key)
    if job is None or job.spec.owner != owner or lease.index >= job.counts.total:
        return None
    if is_reserved(job.spec.kind) and not by_service:
        return None
    return job, work.chunk(job, lease.index)


class _AnswersLeases(Reserved):
    """A command that answers with how each lease fared."""

    __slots__ = ()

    def answer(self, decided: list[LeaseAnswer], work: WorkingSet) -> list[LeaseAnswer]:  # noqa: ARG002  the form
        return decided


class Heartbeat(_AnswersLeases, Struct, frozen=True):
    """Extend leases and take their reports."""

    owner: str
    reports: Sequence[tuple[Lease, rules.WorkReport]]
    lease_duration: int
    by_service: bool = False

    @property
    def weight(self) -> int:
        return len(self.reports)

    def needs(self) -> Needs:
        return _needs(self.owner, [lease for lease, _ in self.reports])

    def decide(self, work: WorkingSet) -> list[LeaseAnswer]:
        return [self._one(work, lease, report) for lease, report in self.reports]

    def _one(self, work: WorkingSet, lease: Lease, report: rules.WorkReport) -> LeaseAnswer:
        held = _held(work, self.owner, lease, by_service=self.by_service)
        if held is None or not holds(lease, *held, work.now):
            return LeaseAnswer(lease, LeaseStatus.LEASE_LOST)
        step = rules.heartbeat(*held, report, self.lease_duration, work.now)
        work.apply(step)
        stopping = step.job.state is JobState.CANCELLING
        return LeaseAnswer(lease, LeaseStatus.CANCEL_REQUESTED if stopping else LeaseStatus.OK, step.chunks[0])


Rule = Callable[[Job, Chunk], Step]


def _end(
    work: WorkingSet, owner: str, lease: Lease, end: LeaseEnd, rule: Rule, *, by_service: bool = False
) -> LeaseAnswer:
    """End a lease by a rule. One that had ended in the same way answers OK again; any other is lost."""
    held = _held(work, owner, lease, by_service=by_service)
    if held is None:
        return LeaseAnswer(lease, LeaseStatus.LEASE_LOST)
    job, chunk = held
    if holds(lease, job, chunk, work.now):
        step = rule(job, chunk)
        work.apply(step)
        return LeaseAnswer(lease, LeaseStatus.OK, step.chunks[0])
    if ended_by(lease, job, chunk, end):
        return LeaseAnswer(lease, LeaseStatus.OK, chunk)
    return LeaseAnswer(lease, LeaseStatus.LEASE_LOST)


class CompleteChunks(_AnswersLeases, Struct, frozen=True):
    """End leases with success; each with its report and the job's result, empty when none is declared."""

    owner: str
    completions: Sequence[tuple[Lease, rules.WorkReport, str]]

    @property
    def weight(self) -> int:
        return len(self.completions)

    def needs(self) -> Needs:
        return _needs(self.owner, [lease for lease, _, _ in self.completions])

    def decide(self, work: WorkingSet) -> list[LeaseAnswer]:
        return [self._one(work, *completion) for completion in self.completions]

    def _one(self, work: WorkingSet, lease: Lease, report: rules.WorkReport, result_uri: str) -> LeaseAnswer:
        def rule(job: Job, chunk: Chunk) -> Step:
            return rules.complete(job, chunk, report, result_uri, work.now)

        return _end(work, self.owner, lease, LeaseEnd.COMPLETED, rule)


class FailChunks(_AnswersLeases, Struct, frozen=True):
    """End leases with failed attempts."""

    owner: str
    failures: Sequence[tuple[Lease, rules.Failure, str]]
    by_service: bool = False

    @property
    def weight(self) -> int:
        return len(self.failures)

    def needs(self) -> Needs:
        return _needs(self.owner, [lease for lease, _, _ in self.failures])

    def decide(self, work: WorkingSet) -> list[LeaseAnswer]:
        return [self._one(work, *failure) for failure in self.failures]

    def _one(self, work: WorkingSet, lease: Lease, failure: rules.Failure, field: str) -> LeaseAnswer:
        def rule(job: Job, chunk: Chunk) -> Step:
            stages = {stage.name for stage in job.spec.stages}
            if failure.error.stage and stages and failure.error.stage not in stages:
                raise InvalidField(
                    (f"{field}.error.stage", f"{failure.error.stage!r} is not a stage of the job's plan")
                )
            return rules.fail(job, chunk, failure, lambda: work.chunks_of(job), work.now)

        return _end(work, self.owner, lease, LeaseEnd.FAILED, rule, by_service=self.by_service)


class ReleaseChunks(_AnswersLeases, Struct, frozen=True):
    """Give chunks back."""

    owner: str
    leases: Sequence[Lease]
    reason: str = ""
    by_service: bool = False

    @property
    def weight(self) -> int:
        return len(self.leases)

    def needs(self) -> Needs:
        return _needs(self.owner, self.leases)

    def decide(self, work: WorkingSet) -> list[LeaseAnswer]:
        return [self._one(work, lease) for lease in self.leases]

    def _one(self, work: WorkingSet, lease: Lease) -> LeaseAnswer:
        def rule(job: Job, chunk: Chunk) -> Step:
            return rules.release(job, chunk, self.reason, work.now)

        return _end(work, self.owner, lease, LeaseEnd.RELEASED, rule, by_service=self.by_service)
