"""What becomes of the artifacts of deleted jobs: a job of the service's own deletes what they point at."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.api.convert import encoded_struct
from jobledger_service.core.api.job_requests import NewId
from jobledger_service.core.ledger.commands.deletion import ArtifactsResult, DeletedJob
from jobledger_service.core.ledger.working_set import WorkingSet
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.job import Inputs, JobSpec, uid_of
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.service_kinds import ARTIFACTS

from .rules import Roots

URIS_PER_CHUNK: Final = 100
BYTES_PER_CHUNK: Final = 60 * 1024
ATTEMPTS: Final = RetryPolicy(max_attempts=8, initial_backoff=2 * SECOND, multiplier=3.0, max_backoff=600 * SECOND)
"""The retries over about half an hour: a bucket that is away for longer needs a person, and RetryJob."""


class ArtifactRemoval(MsgStruct, frozen=True):
    """Creates the job that deletes what the artifacts of deleted jobs point at, under the roots of their owner."""

    roots: Roots
    new_id: NewId

    def __call__(self, work: WorkingSet, deleted: Sequence[DeletedJob], actor: str) -> ArtifactsResult:
        """Create one job for all that is under the roots."""
        owner = deleted[0].job.spec.owner
        uris = list(dict.fromkeys(uri for one in deleted for uri in one.uris))
        inside = [uri for uri in uris if self.roots.locate(uri, owner) is not None]
        kept = len(uris) - len(inside)
        if not inside:
            return ArtifactsResult(None, kept)
        names = [one.job.spec.job_id for one in deleted]
        return ArtifactsResult(self._create(work, owner, names, inside, actor), kept)

    def _create(self, work: WorkingSet, owner: str, names: Sequence[str], uris: Iterable[str], actor: str) -> str:
        """Create the job; return its key."""
        job_id = self.new_id()
        portions = list(_portions(uris))
        spec = JobSpec(
            owner=owner,
            job_id=job_id,
            kind=ARTIFACTS,
            fingerprint=hashlib.sha256(job_id.encode()).digest(),
            retry_policy=ATTEMPTS,
            uid_bytes=uid_of(self.new_id()),
        )
        title = names[0] if len(names) == 1 else f"{len(names)} jobs"
        new = lifecycle.NewJob(spec, [len(one) for one in portions], f"artifacts of {title}", labels=_labels(names))
        inputs = Inputs(
            encoded_struct({"deleted_jobs": names, "called_by": actor}),
            {index: encoded_struct({"uris": one}) for index, one in enumerate(portions)},
        )
        work.create(lifecycle.create(new, actor, work.now), inputs)
        return spec.key


def _labels(names: Sequence[str]) -> Mapping[str, str]:
    return {"jobledger.deleted-job": names[0]} if len(names) == 1 else {}


def _portions(uris: Iterable[str]) -> Iterator[list[str]]:
    """Divide URIs among chunks, so that none has too many, and no input is too large."""
    portion: list[str] = []
    size = 0
    for uri in uris:
        if len(portion) == URIS_PER_CHUNK or size + len(uri.encode()) > BYTES_PER_CHUNK:
            yield portion
            portion, size = [], 0
        portion.append(uri)
        size += len(uri.encode())
    yield portion
