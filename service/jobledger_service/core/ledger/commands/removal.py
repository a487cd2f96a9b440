"""The artifacts of deleted jobs: a job of the service's own deletes their files and objects."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.ports import EncodeStruct, Inputs
from jobledger_service.core.ledger.working_set import WorkingSet
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.roots import Roots
from jobledger_service.core.model.service_kinds import ARTIFACTS

from .runs import REPORT_URI

URIS_PER_CHUNK: Final = 100
BYTES_PER_CHUNK: Final = 60 * 1024
ATTEMPTS: Final = RetryPolicy(max_attempts=8, initial_backoff=2 * SECOND, multiplier=3.0, max_backoff=600 * SECOND)
"""The retries over about half an hour: a bucket that is away for longer needs a person, and RetryJob."""


class Removal(MsgStruct, frozen=True):
    """The deletion of artifacts under the roots with their job; `job_id` is for the job that deletes them."""

    job_id: str
    roots: Roots
    encode: EncodeStruct


class RemovalResult(MsgStruct, frozen=True):
    """The key of the job that deletes the artifacts, None when there are none; `outside` is how many stay."""

    job_key: str | None = None
    outside: int = 0


def uris_of(work: WorkingSet, job: Job) -> list[str]:
    """Return the URIs of the artifacts of a job and of its chunks, each once."""
    holders = [job.artifacts, *work.chunks(job).artifacts()]
    uris = dict.fromkeys(one.uri for artifacts in holders for one in artifacts.values())
    return [uri for uri in uris if uri != REPORT_URI]


def remove(work: WorkingSet, removal: Removal, jobs: Sequence[Job], uris: Iterable[str], actor: str) -> RemovalResult:
    """Create the job that deletes these URIs, of deleted jobs of one owner, under that owner's roots."""
    owner = jobs[0].spec.owner
    uris = list(dict.fromkeys(uris))
    inside = [uri for uri in uris if removal.roots.locate(uri, owner) is not None]
    outside = len(uris) - len(inside)
    if not inside:
        return RemovalResult(None, outside)
    portions = list(_portions(inside))
    spec = JobSpec(
        owner=owner,
        job_id=removal.job_id,
        kind=ARTIFACTS,
        fingerprint=hashlib.sha256(removal.job_id.encode()).digest(),
        retry_policy=ATTEMPTS,
    )
    names = [job.spec.job_id for job in jobs]
    title = names[0] if len(names) == 1 else f"{len(names)} jobs"
    new = lifecycle.NewJob(spec, [len(one) for one in portions], f"artifacts of {title}", labels=_labels(names))
    inputs = Inputs(
        removal.encode({"deleted_jobs": names, "called_by": actor}),
        {index: removal.encode({"uris": one}) for index, one in enumerate(portions)},
    )
    work.create(lifecycle.create(new, actor, work.now), inputs)
    return RemovalResult(spec.key, outside)


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
