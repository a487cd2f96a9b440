"""The job of the service's own that deletes what the artifacts of deleted jobs point at."""

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.api.convert import encoded_struct, struct_content
from jobledger_service.core.api.job_requests import NewId
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.job import Inputs, Job, JobSpec, job_key, uid_of
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.service_kinds import ARTIFACTS, is_reserved
from jobledger_service.core.write.commands import ClaimedChunk
from jobledger_service.core.write.working_set import WorkingSet

from .family import ArtifactRemovals

ATTEMPTS: Final = RetryPolicy(max_attempts=8, initial_backoff=2 * SECOND, multiplier=3.0, max_backoff=600 * SECOND)
"""The retries over about half an hour: a bucket that is away for longer needs a person, and RetryJob."""


class DeletedJob(MsgStruct, frozen=True):
    """A job that was deleted: by its uid, as another job may have its key."""

    key: str
    uid: bytes
    chunk_count: int


class ArtifactRemoval(MsgStruct, frozen=True):
    """Creates one job for all deleted jobs of a batch, with a chunk for each; its steps list the artifacts."""

    new_id: NewId

    def __call__(self, work: WorkingSet, deleted: Sequence[Job], actor: str) -> str | None:
        """Create the job; return its key, None when the deleted jobs have no artifacts."""
        some = [job for job in work.with_artifacts(deleted) if not is_reserved(job.spec.kind)]
        if not some:
            return None
        job_id, names = self.new_id(), [job.spec.job_id for job in some]
        spec = JobSpec(
            owner=some[0].spec.owner,
            job_id=job_id,
            kind=ARTIFACTS,
            fingerprint=hashlib.sha256(job_id.encode()).digest(),
            retry_policy=ATTEMPTS,
            uid_bytes=uid_of(self.new_id()),
        )
        title, labels = f"artifacts of {len(names)} jobs", {}
        if len(names) == 1:
            title, labels = f"artifacts of {names[0]}", {"jobledger.deleted-job": names[0]}
        inputs = Inputs(
            encoded_struct({"deleted_jobs": names, "called_by": actor}),
            {index: encoded_struct(_input(job)) for index, job in enumerate(some)},
        )
        new = lifecycle.NewJob(spec, [0] * len(some), title, labels=labels)
        work.create(lifecycle.create(new, actor, work.now), inputs)
        work.family(ArtifactRemovals).begin(spec.key, some)
        return spec.key


def _input(job: Job) -> dict[str, object]:
    return {"job_id": job.spec.job_id, "uid": job.spec.uid, "chunk_count": job.counts.total}


def deleted_job_of(claimed: ClaimedChunk) -> DeletedJob:
    """Return the deleted job of a chunk; raises ValueError for an invalid input."""
    content, spec = struct_content(claimed.inputs.chunks.get(claimed.chunk.index)), claimed.job.spec
    try:
        key, uid, chunk_count = (content[name] for name in ("job_id", "uid", "chunk_count"))
    except KeyError as error:
        raise ValueError(f"chunk {claimed.chunk.index} of job {spec.job_id!r} names no deleted job: {error}") from error
    return DeletedJob(job_key(spec.owner, str(key)), uid_of(str(uid)), int(chunk_count))
