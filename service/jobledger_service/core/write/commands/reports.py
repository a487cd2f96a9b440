"""The commands about held leases: heartbeats, and the ends of attempts that workers report."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar, cast

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import AttemptOutcome, Chunk
from jobledger_service.core.model.history.change import Step
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.leases import (
    LEASE_NOT_FOUND,
    Lease,
    LeaseStop,
    cancellation_of,
    ended_by,
    holds,
    loss_of,
)
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.model.refusals.errors import InvalidField, JobUnreadable, Refusal
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.core_families import OutputRows
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .base import PartialCommand, ended_rows

Item = TypeVar("Item", bound="tuple[Lease, *tuple[Any, ...]]")

Rule = Callable[[Job, Chunk], Step]

HeartbeatItem = tuple[Lease, rules.WorkReport]
CompletionItem = tuple[Lease, rules.WorkReport, rules.Results]
FailureItem = tuple[Lease, rules.WorkReport, rules.Failure]
ReleaseItem = tuple[Lease, rules.WorkReport, rules.Release]
UnheardItem = tuple[Lease, int | None, rules.Release]
"""The lease, and until when it was granted."""


class LeaseStatus(StrEnum):
    """The outcome for one lease of a call."""

    OK = "OK"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    LEASE_LOST = "LEASE_LOST"
    REFUSED = "REFUSED"


class LeaseAnswer(MsgStruct, frozen=True):
    """The outcome for a lease; the chunk in its current state, None when the lease is lost or the report refused."""

    status: LeaseStatus
    chunk: Chunk | None = None
    refusal: Refusal | None = None
    stop: LeaseStop | None = None
    """Why the work must stop; None when it need not."""


def refused(refusal: Refusal) -> LeaseAnswer:
    """Return the outcome of a report that is refused."""
    return LeaseAnswer(LeaseStatus.REFUSED, refusal=refusal)


def _has_artifacts(report: object) -> bool:
    return isinstance(report, rules.WorkReport) and bool(report.artifacts or report.job_artifacts)


def _lost(stop: LeaseStop) -> LeaseAnswer:
    return LeaseAnswer(LeaseStatus.LEASE_LOST, stop=stop)


NOT_FOUND: Final = _lost(LEASE_NOT_FOUND)


class LeaseReports(
    PartialCommand[list[LeaseAnswer], list[LeaseAnswer], Item, LeaseAnswer],
    MsgStruct,
    Generic[Item],
    frozen=True,
):
    """A command about held leases, answered with the outcome of each; a refused report affects no other.

    `items` are the leases with their reports. `received` is their time of arrival, by the ledger's clock: a report that
    arrived before its lease's end is accepted, however long it waited. Items beyond the bound of one commit are left to
    the next one, with the outcomes so far in `answered`.
    """

    reserved = True

    owner: str
    items: Sequence[Item]
    by_service: bool = False
    received: Micros | None = None
    answered: tuple[LeaseAnswer, ...] = ()
    served: Owners | None = None
    """The owners of the chunks that it may report on, None for its own."""

    def needs(self) -> Needs:
        """Return the chunks that belong to the owners, and the jobs that get artifacts."""
        served = [item for item in self.items if self._serves(item[0].job_key)]
        chunks = [(item[0].job_key, item[0].index) for item in served]
        return Needs(chunks=tuple(chunks), storing=[item[0].job_key for item in served if _has_artifacts(item[1])])

    def _serves(self, job_key: str) -> bool:
        if self.served is None:
            return job_key.startswith(f"{self.owner}/")
        return owner_of(job_key) in self.served

    def do(self, work: WorkingSet, item: Item) -> LeaseAnswer:
        savepoint = work.undo.savepoint
        try:
            return self._apply(work, item)
        except Refusal as refusal:
            work.undo.rollback(savepoint)
            return refused(refusal)

    @abstractmethod
    def _apply(self, work: WorkingSet, item: Item) -> LeaseAnswer:
        """Apply a report; raises Refusal."""

    def conclude(
        self,
        results: list[LeaseAnswer],
        work: WorkingSet,  # noqa: ARG002  the results are all
    ) -> list[LeaseAnswer] | Postponed:
        rest, answers = self.items[len(results) :], [*self.answered, *results]
        return Postponed(replace(cast("Any", self), items=rest, answered=tuple(answers))) if rest else answers

    def _named(self, work: WorkingSet, lease: Lease) -> tuple[Job, Chunk] | None:
        """Return the lease's job and chunk when both exist, belong to the owners, and are not another's service job.

        An unreadable row counts as missing: its worker learns that it has lost the lease.
        """
        job = work.find(lease.job_key)
        if job is None or not self._serves(lease.job_key) or lease.index >= job.counts.total:
            return None
        if is_reserved(job.spec.kind) and not self.by_service:
            return None
        try:
            return job, work.chunk(lease.job_key, lease.index)
        except JobUnreadable:
            return None

    def _is_held(self, work: WorkingSet, lease: Lease, job: Job, chunk: Chunk) -> bool:
        return holds(lease, job, chunk, self._time(work))

    def _time(self, work: WorkingSet) -> Micros:
        return work.now if self.received is None else self.received

    def _lost(self, work: WorkingSet, lease: Lease, job: Job, chunk: Chunk) -> LeaseAnswer:
        return _lost(loss_of(lease, job, chunk, self._time(work)))

    def _end(self, work: WorkingSet, lease: Lease, outcome: AttemptOutcome, rule: Rule) -> LeaseAnswer:
        """End a lease by a rule. A repetition of the same end answers OK; any other is lost."""
        named = self._named(work, lease)
        if named is None:
            return NOT_FOUND
        if self._is_held(work, lease, *named):
            step = rule(*named)
            work.apply(step)
            return LeaseAnswer(LeaseStatus.OK, step.chunks[0])
        if ended_by(lease, *named, outcome):
            return LeaseAnswer(LeaseStatus.OK, named[1])
        return self._lost(work, lease, *named)


class Heartbeat(LeaseReports[HeartbeatItem], frozen=True, kw_only=True):
    """Extend leases and apply their reports; each lease keeps its duration when `lease_duration` is None."""

    lease_duration: int | None

    def _apply(self, work: WorkingSet, item: HeartbeatItem) -> LeaseAnswer:
        lease, report = item
        named = self._named(work, lease)
        if named is None:
            return NOT_FOUND
        if not self._is_held(work, lease, *named):
            return self._lost(work, lease, *named)
        step = rules.heartbeat(*named, report, self.lease_duration, work.now)
        work.apply(step)
        if step.job.state is JobState.CANCELLING:
            return LeaseAnswer(LeaseStatus.CANCEL_REQUESTED, step.chunks[0], stop=cancellation_of(step.job))
        return LeaseAnswer(LeaseStatus.OK, step.chunks[0])


class CompleteChunks(LeaseReports[CompletionItem], frozen=True):
    """End leases with success; each with its report and its results."""

    def _apply(self, work: WorkingSet, item: CompletionItem) -> LeaseAnswer:
        lease, report, results = item

        def rule(job: Job, chunk: Chunk) -> Step:
            if results.output is not None or results.job_output is not None:
                declared = (lease.index, results.output), (JOB_ITSELF, results.job_output)
                work.family(OutputRows).declare(job.key, declared)
            return rules.complete(job, chunk, report, results, work.now)

        return self._end(work, lease, AttemptOutcome.COMPLETED, rule)


class FailChunks(LeaseReports[FailureItem], frozen=True):
    """End leases with failed attempts."""

    def rows_of(self, work: WorkingSet, item: FailureItem) -> int:
        return ended_rows(work, item[0].job_key)

    def _apply(self, work: WorkingSet, item: FailureItem) -> LeaseAnswer:
        lease, report, failure = item

        def rule(job: Job, chunk: Chunk) -> Step:
            _check_stage(job, failure)
            return rules.fail(job, chunk, report, failure, work.chunks(job), work.now)

        return self._end(work, lease, AttemptOutcome.FAILED, rule)


def _check_stage(job: Job, failure: rules.Failure) -> None:
    stages = {stage.name for stage in job.spec.stages}
    if failure.error.stage and stages and failure.error.stage not in stages:
        raise InvalidField(("error.stage", f"value {failure.error.stage!r} must be a stage of the job's plan"))


class ReleaseChunks(LeaseReports[ReleaseItem], frozen=True):
    """Release chunks."""

    def _apply(self, work: WorkingSet, item: ReleaseItem) -> LeaseAnswer:
        lease, report, release = item
        return self._end(
            work,
            lease,
            AttemptOutcome.RELEASED,
            lambda job, chunk: rules.release(job, chunk, report, release, work.now),
        )


class ReleaseUnheard(LeaseReports[UnheardItem], frozen=True):
    """Release chunks that no caller received; a lease that was extended since it was granted is kept."""

    def _apply(self, work: WorkingSet, item: UnheardItem) -> LeaseAnswer:
        lease, granted_until, release = item
        named = self._named(work, lease)
        if named is None or named[1].lease_expire_time != granted_until:
            return NOT_FOUND
        return self._end(
            work,
            lease,
            AttemptOutcome.RELEASED,
            lambda job, chunk: rules.release(job, chunk, rules.NOTHING_NEW, release, work.now),
        )


EndReports = CompleteChunks | FailChunks | ReleaseChunks
"""The reports with which a worker may ask for the next chunks."""
