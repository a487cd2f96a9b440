"""What is left of deleted jobs: a job of the service's own deletes what their artifacts point at."""

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
"""Over about half an hour: a bucket that is away for longer wants a person, and RetryJob."""


class Removal(MsgStruct, frozen=True):
    """That artifacts go with their job: those under the roots. `job_id` names the job that will delete them."""

    job_id: str
    roots: Roots
    encode: EncodeStruct


class RemovalResult(MsgStruct, frozen=True):
    """The job that deletes the artifacts, by key, None when there is nothing to delete; `outside` stay."""

    job_key: str | None = None
    outside: int = 0


def uris_of(work: WorkingSet, job: Job) -> list[str]:
    """Return what the artifacts of a job and of its chunks point at, each once."""
    holders = [job.artifacts, *work.chunks(job).artifacts()]
    uris = dict.fromkeys(one.uri for artifacts in holders for one in artifacts.values())
    return [uri for uri in uris if uri != REPORT_URI]


def remove(work: WorkingSet, removal: Removal, jobs: Sequence[Job], uris: Iterable[str], actor: str) -> RemovalResult:
    """Create the job that deletes what these URIs, of deleted jobs of one owner, point at under that owner's roots."""
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
    """Divide URIs among chunks, so that none has too many, nor an input that is too large."""
    portion: list[str] = []
    size = 0
    for uri in uris:
        if len(portion) == URIS_PER_CHUNK or size + len(uri.encode()) > BYTES_PER_CHUNK:
            yield portion
            portion, size = [], 0
        portion.append(uri)
        size += len(uri.encode())
    yield portion
