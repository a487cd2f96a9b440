"""Jobs as long-running operations: names, filters, and the operation of a job."""

import re
from typing import Final

from google.longrunning import operations_pb2 as lro
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, status_pb2
from jobledger.v1 import chunk_pb2, job_pb2

from jobledger_service.core.api.checks import JOB_ID, Checks
from jobledger_service.core.api.list_requests import page_size
from jobledger_service.core.api.shown_jobs import shown_job
from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.states import ENDED, JobState
from jobledger_service.core.store.reads import JobRead, Listing
from jobledger_service.transport.identity import Caller

COLLECTION: Final = "operations"
MAX_FILTER: Final = 1_000
_STATE: Final = re.compile(r'(?:metadata\.)?state\s*=\s*"?([A-Z]+)"?')
_DONE: Final = re.compile(r"done\s*=\s*(true|false)")
RULE: Final = "must be empty, done=true, done=false, or state=STATE terms joined by OR"


def name_of(job_id: str) -> str:
    """Return the operation name of a job."""
    return f"{COLLECTION}/{job_id}"


def job_id_of(name: str) -> str:
    """Return the job_id of an operation; raises InvalidField."""
    collection, _, job_id = name.partition("/")
    if collection != COLLECTION or not JOB_ID.fullmatch(job_id):
        raise InvalidField(("name", f"value {name[:200]!r} must be {COLLECTION}/JOB_ID"))
    return job_id


def listing(request: lro.ListOperationsRequest, caller: Caller) -> Listing:
    """Return what ListOperations asks for: the newest first."""
    with Checks() as checks:
        if request.name not in ("", COLLECTION):
            checks.fault("name", f"value {request.name[:200]!r} must be {COLLECTION!r}")
        limit = page_size(checks, request.page_size, default=20, max_size=500)
        states = _states(request.filter.strip()) if len(request.filter) <= MAX_FILTER else None
        if states is None:
            checks.fault("filter", f"value {request.filter[:200]!r} {RULE}")
    wanted = JobFilter(owner=caller.owner, states=states or frozenset())
    return Listing(wanted, limit=limit, copies=COPIES)


def _states(text: str) -> frozenset[JobState] | None:
    """Return the states of a filter, all for an empty one; None for an invalid one."""
    if not text:
        return frozenset()
    if done := _DONE.fullmatch(text):
        return ENDED if done[1] == "true" else frozenset(JobState) - ENDED
    named = [_STATE.fullmatch(part.strip()) for part in re.split(r"\bOR\b", text)]
    names = {match[1] for match in named if match}
    if not all(named) or not names <= set(JobState):
        return None
    return frozenset(map(JobState, names))


_JOB_TYPE: Final = f"type.googleapis.com/{job_pb2.Job.DESCRIPTOR.full_name}"
COPIES: Final = 2
"""Times that an operation holds its job: as its metadata, and as its response."""


def operation(read: JobRead) -> lro.Operation:
    """Return a job as an operation: its metadata is the job; done when the job has ended. Raises ValueError."""
    job, raw = shown_job(read)
    packed = AnyMessage(type_url=_JOB_TYPE, value=raw)
    shown = lro.Operation(name=name_of(read.job_id), metadata=packed, done=read.state in ENDED)
    match read.state:
        case JobState.COMPLETED:
            shown.response.CopyFrom(packed)
        case JobState.FAILED:
            shown.error.CopyFrom(_failure(job.error))
        case JobState.CANCELLED:
            reason = job.cancel_reason or "the job was cancelled"
            shown.error.CopyFrom(status_pb2.Status(code=code_pb2.CANCELLED, message=reason))
    return shown


def unreadable_operation(job_id: str) -> lro.Operation:
    """Return the operation of a job that cannot be shown: its name only, not done, as its state is unknown."""
    return lro.Operation(name=name_of(job_id))


def _failure(error: chunk_pb2.WorkError) -> status_pb2.Status:
    """Return why a job failed: the code of the work is its own, so that of the status is UNKNOWN."""
    message = f"{error.code}: {error.message}" if error.message else error.code
    shown = status_pb2.Status(code=code_pb2.UNKNOWN, message=message)
    shown.details.add().Pack(error)
    return shown
