"""A step of one of the service's own jobs: its results and its cursor, in one transaction."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import Artifact, Chunk
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.leases import Lease, holds
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.run import RunCursor
from jobledger_service.core.write.core_families import Runs
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .base import Command

REPORT: Final = "report"
REPORT_URI: Final = "jobledger:report"
"""The report is in the metadata alone, at no URI."""

EncodeStruct = Callable[[Mapping[str, object]], bytes]
"""Encodes names and JSON values as a Struct, the form of inputs and metadata."""


class StepOutcome(StrEnum):
    """The outcome of a step."""

    GOING = "GOING"
    """The chunk is still held: continue."""
    ENDED = "ENDED"
    """The chunk is done, or was released because its job must stop."""
    LOST = "LOST"
    """Nothing was changed: the lease is lost, or another attempt has continued from here."""
    TOO_LARGE = "TOO_LARGE"
    """Nothing was changed: the step has more rows than a batch; take fewer jobs."""


class StepLease(MsgStruct, frozen=True):
    """The lease of a step, and the expected cursor of the chunk."""

    lease: Lease
    start_cursor: RunCursor | None
    lease_duration: int
    encode: EncodeStruct

    def needs(self, *jobs: str) -> Needs:
        """Return the rows of the chunk, and of other jobs."""
        key = self.lease.job_key
        return Needs(jobs=(key, *jobs), chunks=((key, self.lease.index),), rows={Runs: (key,)})

    def held(self, work: WorkingSet) -> tuple[Job, Chunk] | None:
        """Return the job and the chunk, None when the lease is lost or the chunk has another cursor."""
        job = work.find(self.lease.job_key)
        if job is None or self.lease.index >= job.counts.total:
            return None
        chunk = work.chunk(job.key, self.lease.index)
        at = work.family(Runs).find(job.key).cursors.get(self.lease.index)
        return (job, chunk) if holds(self.lease, job, chunk, work.now) and at == self.start_cursor else None

    def report(self, work: WorkingSet, progress: ProgressReport, metadata: Mapping[str, object]) -> tuple[Job, Chunk]:
        """Extend the lease, report the progress and store the report; return the job and the chunk as they are then."""
        job = work.last(self.lease.job_key)
        chunk = work.chunk(job.key, self.lease.index)
        artifact = Artifact(REPORT_URI, metadata=self.encode(metadata), create_time=work.now)
        report = rules.WorkReport(progress, job_artifacts={REPORT: artifact})
        step = rules.heartbeat(job, chunk, report, self.lease_duration, work.now)
        work.apply(step)
        return work.last(job.key), step.chunks[0]


class RunStep(Command[StepOutcome, StepOutcome]):
    """A step of a run, one at a time under a lease: a report on it, for the job's owner."""

    __slots__ = ()

    reserved = True
    step_lease: StepLease

    @property
    def owner(self) -> str:
        """The owner of the run's job."""
        return owner_of(self.step_lease.lease.job_key)


def complete(work: WorkingSet, job: Job, chunk: Chunk) -> None:
    """End the chunk with success."""
    work.apply(rules.complete(job, chunk, rules.NOTHING_NEW, rules.NO_RESULTS, work.now))


def give_back(work: WorkingSet, job: Job, chunk: Chunk) -> None:
    """Release a chunk whose job must stop."""
    work.apply(rules.release(job, chunk, rules.NOTHING_NEW, rules.Release(), work.now))
