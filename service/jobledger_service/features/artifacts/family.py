"""Removals: the jobs of the service's own that delete what the artifacts of deleted jobs point at.

Retention leaves the artifact versions of deleted jobs until their removal has ended.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.api.convert import encoded_struct, struct_content
from jobledger_service.core.api.job_requests import NewId
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.job import Inputs, Job, JobSpec, job_key, uid_of
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.service_kinds import ARTIFACTS, is_reserved
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.batch_changes import BatchChanges
from jobledger_service.core.write.commands import ClaimedChunk
from jobledger_service.core.write.row_families import ArtifactRemover
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.working_set import WorkingSet
from jobledger_service.core.write.writing import Transaction

from .tables import artifact_removals

ATTEMPTS: Final = RetryPolicy(max_attempts=8, initial_backoff=2 * SECOND, multiplier=3.0, max_backoff=600 * SECOND)
"""The retries over about half an hour: a bucket that is away for longer needs a person, and RetryJob."""


class DeletedJob(MsgStruct, frozen=True):
    """A job that was deleted: by its uid, as another job may have its key."""

    key: str
    uid: bytes
    chunk_count: int


class ArtifactRemovals(ArtifactRemover):
    """The deleted jobs of the removals that a batch begins or ends; their rows are locked with the removal."""

    rank = 10

    def __init__(self, row_sets: RowSets, new_id: NewId, transaction: Transaction, undo: Undo) -> None:
        self._row_sets = row_sets
        self._new_id = new_id
        self._connection = transaction.connection
        self._undo = undo
        self._begun: dict[bytes, str] = {}

    def begin(self, work: WorkingSet, deleted: Sequence[Job], actor: str) -> str | None:
        """Create one removal for all deleted jobs, with a chunk for each; its steps list the artifacts."""
        jobs = [job for job in work.with_artifacts(deleted) if not is_reserved(job.spec.kind)]
        if not jobs:
            return None
        new = self._removal_of(jobs)
        inputs = Inputs(
            encoded_struct({"deleted_jobs": [job.spec.job_id for job in jobs], "called_by": actor}),
            {index: encoded_struct(_input(job)) for index, job in enumerate(jobs)},
        )
        work.create(lifecycle.create(new, actor, work.now), inputs)
        for job in jobs:
            self._undo.put(self._begun, job.spec.uid_bytes, new.spec.key)
        return new.spec.key

    def _removal_of(self, jobs: Sequence[Job]) -> lifecycle.NewJob:
        job_id, names = self._new_id(), [job.spec.job_id for job in jobs]
        spec = JobSpec(
            owner=jobs[0].spec.owner,
            job_id=job_id,
            kind=ARTIFACTS,
            fingerprint=hashlib.sha256(job_id.encode()).digest(),
            retry_policy=ATTEMPTS,
            uid_bytes=uid_of(self._new_id()),
        )
        title, labels = f"artifacts of {len(names)} jobs", {}
        if len(names) == 1:
            title, labels = f"artifacts of {names[0]}", {"jobledger.deleted-job": names[0]}
        return lifecycle.NewJob(spec, [0] * len(jobs), title, labels=labels)

    def save(self, changes: BatchChanges) -> None:
        """Insert the rows of new removals; delete those of removals that are done, or that were deleted."""
        ended = [
            {"removal_key": delta.job.key}
            for delta in changes.deltas
            if delta.job.spec.kind == ARTIFACTS and (delta.deleted or delta.job.state is JobState.COMPLETED)
        ]
        begun = [{"uid": uid, "removal_key": key} for uid, key in self._begun.items()]
        self._row_sets.insert(self._connection, artifact_removals, begun)
        self._row_sets.delete(self._connection, artifact_removals, ended)


def _input(job: Job) -> dict[str, object]:
    return {"job_id": job.spec.job_id, "uid": job.spec.uid, "chunk_count": job.counts.total}


def deleted_job_of(claimed: ClaimedChunk) -> DeletedJob:
    """Return the deleted job of a chunk of a removal; raises ValueError for an invalid input."""
    content, spec = struct_content(claimed.inputs.chunks.get(claimed.chunk.index)), claimed.job.spec
    try:
        key, uid, chunk_count = (content[name] for name in ("job_id", "uid", "chunk_count"))
    except KeyError as error:
        raise ValueError(f"chunk {claimed.chunk.index} of job {spec.job_id!r} names no deleted job: {error}") from error
    return DeletedJob(job_key(spec.owner, str(key)), uid_of(str(uid)), int(chunk_count))
