"""What a deletion says of the artifacts of its jobs, and who decides what becomes of them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.working_set import WorkingSet
from jobledger_service.core.model.job import Job

from .runs import REPORT_URI


class DeletedJob(MsgStruct, frozen=True):
    """A job that is being deleted, and what its artifacts and those of its chunks point at, each once."""

    job: Job
    uris: Sequence[str]


class ArtifactsResult(MsgStruct, frozen=True):
    """The job that deletes the artifacts, by key, None when there is nothing to delete; `kept` are not deleted."""

    job_key: str | None = None
    kept: int = 0


class OnDeletion(Protocol):
    """Decides, within the transaction, what becomes of the artifacts of jobs that are being deleted."""

    def __call__(self, work: WorkingSet, deleted: Sequence[DeletedJob], actor: str) -> ArtifactsResult:
        """Return what was decided about these jobs of one owner, at least one."""


def with_artifacts(work: WorkingSet, job: Job) -> DeletedJob:
    """Return a job that is about to be deleted with what its artifacts point at."""
    holders = [job.artifacts, *work.chunks(job).artifacts()]
    uris = dict.fromkeys(one.uri for artifacts in holders for one in artifacts.values())
    return DeletedJob(job, [uri for uri in uris if uri != REPORT_URI])
