"""Converts requests for one verb over many jobs to the job that runs it, and that job's input back to an order."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from jobledger.v1 import bulk_pb2, filter_pb2
from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.convert import encoded_struct, struct_content
from jobledger_service.core.api.job_requests import cancellation, fingerprint, job_update, request_id
from jobledger_service.core.api.list_requests import filter_of
from jobledger_service.core.api.owners import owner_of
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import Inputs, JobSpec, uid_of
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.write import commands
from jobledger_service.core.write.commands import ClaimedChunk
from jobledger_service.transport.identity import Caller, Role

from .commands import ForJob

Request = (
    bulk_pb2.CancelJobsRequest | bulk_pb2.RetryJobsRequest | bulk_pb2.DeleteJobsRequest | bulk_pb2.UpdateJobsRequest
)

MAX_JOB_IDS: Final = 10_000
IDS_PER_CHUNK: Final = 500
ATTEMPTS: Final = RetryPolicy(max_attempts=100, initial_backoff=SECOND // 5, max_backoff=30 * SECOND)
"""The attempts: each killed server costs one, and the next continues at the cursor."""
FORMS: Final[dict[str, type[Any]]] = {
    "CancelJobs": bulk_pb2.CancelJobsRequest,
    "RetryJobs": bulk_pb2.RetryJobsRequest,
    "DeleteJobs": bulk_pb2.DeleteJobsRequest,
    "UpdateJobs": bulk_pb2.UpdateJobsRequest,
}
_NAMES: Final = {form: name for name, form in FORMS.items()}
RESPONSES: Final[dict[type[Any], type[Any]]] = {
    form: getattr(bulk_pb2, f"{name}Response") for form, name in _NAMES.items()
}
"""The response to each request."""


class BulkRequest(MsgStruct, frozen=True):
    """The checked content of a request: the jobs of a filter, or named jobs of an owner, each once."""

    request: Request
    owner: str
    filter: JobFilter | None
    job_ids: Sequence[str]


class BulkOrder(MsgStruct, frozen=True):
    """The verb, and the jobs of one chunk: those that a filter finds, or those of an owner that are named.

    `matched` is the number of jobs that matched at the request, None when it is not known exactly.
    """

    verb: ForJob
    owner: str
    filter: JobFilter | None
    job_ids: Sequence[str] = ()
    matched: int | None = None
    delete_artifacts: bool = False


def parse_request(request: Request, caller: Caller) -> BulkRequest:
    """Return the content of one of the four requests."""
    with Checks() as checks:
        request_id(checks, request.request_id)
        owner = owner_of(checks, request, caller)
        filter_ = _filter(checks, request, caller)
        checks.job_ids("job_ids", request.job_ids, MAX_JOB_IDS)
        _verb(checks, request, owner, caller.name, "")
    return BulkRequest(request, owner, filter_, list(dict.fromkeys(request.job_ids)))


def _filter(checks: Checks, request: Request, caller: Caller) -> JobFilter | None:
    """Return the filter, None for named jobs, whose filter names at most the owner."""
    if request.job_ids:
        if request.filter != filter_pb2.JobFilter(owner=request.filter.owner):
            checks.fault("filter", "must not have conditions with job_ids: only the owner of these jobs")
        return None
    if not request.HasField("filter"):
        checks.fault("filter", "is required unless job_ids is given")
        return None
    filter_ = filter_of(checks, request, caller)
    if filter_ == JobFilter(filter_.owner):
        checks.fault(
            "filter", "must have a condition; to select all jobs, set create_time.end_time, for example to now"
        )
    for index, kind in enumerate(request.filter.kinds):
        checks.not_reserved(f"filter.kinds[{index}]", kind)
    if filter_.include_service_jobs:
        checks.fault("filter.include_service_jobs", "must be false: a run never changes the service's own jobs")
    return filter_


def _verb(checks: Checks, request: Request, owner: str, actor: str, run_id: str) -> ForJob:
    """Return the single command that the request means for each job, recorded as done by the caller through the run."""
    origin = f"by job {run_id}"
    match request:
        case bulk_pb2.CancelJobsRequest():
            how = cancellation(checks, request)
            how = replace(how, reason=_with_origin(how.reason, origin))
            return lambda job_id: commands.CancelJob(owner, job_id, how, actor)
        case bulk_pb2.RetryJobsRequest():
            checks.reason(request.reason)
            why = _with_origin(request.reason, origin)
            return lambda job_id: commands.RetryJob(owner, job_id, (), actor, why)
        case bulk_pb2.DeleteJobsRequest():
            checks.reason(request.reason)
            force, why = request.force, _with_origin(request.reason, origin)
            return lambda job_id: commands.DeleteJob(owner, job_id, actor, force=force, reason=why)
        case _:
            new, why = job_update(checks, request), _with_origin(request.reason, origin)
            return lambda job_id: commands.UpdateJob(owner, job_id, new, actor, reason=why)


def _with_origin(reason: str, origin: str) -> str:
    return f"{reason} ({origin})" if reason else origin


def run(order: BulkRequest, caller: Caller, matched: int | None, new_id: Callable[[], str]) -> commands.CreateJob:
    """Return the command that starts a run; `matched` is its number of jobs, None when that is a lower bound."""
    name = _NAMES[type(order.request)]
    parts = [order.job_ids[begin : begin + IDS_PER_CHUNK] for begin in range(0, len(order.job_ids), IDS_PER_CHUNK)]
    # with the name of the method: equal bytes have different meanings for different methods
    content = name.encode() + fingerprint(order.request, excluded=["request_id"])
    spec = JobSpec(
        owner=caller.owner,
        job_id=new_id(),
        kind=BULK,
        fingerprint=hashlib.sha256(content).digest(),
        retry_policy=ATTEMPTS,
        uid_bytes=uid_of(new_id()),
    )
    new = NewJob(
        spec=spec,
        sizes=[len(part) for part in parts] or [0],
        display_name=f"{name}: {len(order.job_ids):,} named" if parts else f"{name}: a filter",
        labels={"jobledger.method": name},
    )
    inputs = Inputs(
        _job_input(name, order.request, caller, matched),
        {index: encoded_struct({"job_ids": part}) for index, part in enumerate(parts)},
    )
    return commands.CreateJob(new, caller.name, order.request.request_id, inputs)


def _job_input(name: str, request: Request, caller: Caller, matched: int | None) -> bytes:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415  as in core/api/convert.py

    shown = type(request)()
    shown.CopyFrom(request)  # type: ignore[arg-type] # of its own kind
    mask = list(request.update_mask.paths) if isinstance(request, bulk_pb2.UpdateJobsRequest) else []
    for field in ("job_ids", "request_id", "validate_only", *(("update_mask",) if mask else ())):
        shown.ClearField(field)
    states = sorted(set(shown.filter.states))  # each once, however often it was sent
    if shown.HasField("filter"):
        shown.filter.ClearField("states")
        shown.filter.states.extend(states)
    content: dict[str, object] = {"method": name, "called_by": caller.name, "request": MessageToDict(shown)}
    if mask:  # whose form in JSON has no upper case
        content["update_mask"] = mask
    return encoded_struct(content if matched is None else {**content, "matched": matched})


def order_of(claimed: ClaimedChunk) -> BulkOrder:
    """Return the order of a run's chunk; raises ValueError for an invalid input."""
    from google.protobuf.json_format import ParseDict, ParseError  # noqa: PLC0415  as above

    spec = claimed.job.spec
    content = struct_content(claimed.inputs.job)
    named = struct_content(claimed.inputs.chunks.get(claimed.chunk.index))
    try:
        request = ParseDict(content["request"], FORMS[content["method"]]())
        if "update_mask" in content:
            request.update_mask.paths.extend(content["update_mask"])
        # the caller was allowed to name the owner: only the service creates jobs of this kind
        caller = Caller(spec.owner, content["called_by"], roles=frozenset({Role.ADMIN}))
    except (KeyError, ParseError) as error:
        raise ValueError(f"the input of job {spec.job_id!r} is not that of a run: {error}") from error
    with Checks() as checks:
        owner, job_ids = owner_of(checks, request, caller), named.get("job_ids", ())
        filter_ = None if job_ids else _filter(checks, request, caller)
        verb = _verb(checks, request, owner, caller.name, spec.job_id)
    return BulkOrder(
        verb=verb,
        owner=owner,
        filter=filter_,
        job_ids=job_ids,
        matched=int(content["matched"]) if "matched" in content else None,
        delete_artifacts=getattr(request, "delete_artifacts", False),
    )
