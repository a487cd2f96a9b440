"""The outcomes of BatchCreateJobs as an encoded reply of bounded size."""

from collections.abc import Iterable
from typing import Final

from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.transport.encoding.joined import field

from .errors import FULL_BYTES, entry_error

_RESULTS: Final = api.BatchCreateJobsResponse.DESCRIPTOR.fields_by_name["results"]
_JOB: Final = api.CreateJobResult.DESCRIPTOR.fields_by_name["job"]


def encoded_outcomes(outcomes: Iterable[tuple[bytes, bool] | Refusal]) -> bytes:
    """Return the reply with an encoded job, and whether it is new, or a refusal, for each job of the request."""
    parts, size = [], 0
    for outcome in outcomes:
        part = _refused(outcome, brief=False) if isinstance(outcome, Refusal) else _created(*outcome)
        if size + len(part) > FULL_BYTES:
            part = (
                _refused(outcome, brief=True)
                if isinstance(outcome, Refusal)
                else _created(_brief(outcome[0]), outcome[1])
            )
        parts.append(field(_RESULTS, part))
        size += len(parts[-1])
    return b"".join(parts)


def _created(job: bytes, created: bool) -> bytes:  # noqa: FBT001  as decided
    return field(_JOB, job) + api.CreateJobResult(created=created).SerializeToString()


def _brief(raw: bytes) -> bytes:
    job = job_pb2.Job.FromString(raw)
    brief = job_pb2.Job(job_id=job.job_id, kind=job.kind, state=job.state, revision=job.revision)
    return brief.SerializeToString()


def _refused(refusal: Refusal, *, brief: bool) -> bytes:
    return api.CreateJobResult(error=entry_error(refusal, brief=brief)).SerializeToString()
