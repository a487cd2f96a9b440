"""Requests of JobService as commands and queries."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import Message
from jobledger.v1 import chunk_pb2, job_pb2
from jobledger.v1 import job_service_pb2 as api
from msgspec import msgpack

from jobledger_service.core.model.bounds import limits
from jobledger_service.core.model.bounds.limits import DAY
from jobledger_service.core.model.bounds.slots import MAX_LIMITED_LABELS
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.job import NO_UID, FailurePolicy, Inputs, JobSpec, Stage, uid_of
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.updates import SETTINGS, JobUpdate
from jobledger_service.core.write import commands
from jobledger_service.transport.identity import Caller

from .checks import JOB_ID, LABEL, LABEL_FORM, Checks, shown
from .chunk_requests import chunk_count, chunk_sizes, read_finalizer_work, read_inputs
from .list_requests import labels
from .owners import owner_of

MAX_BATCH_JOBS: Final = 500
_DEFAULT: Final = RetryPolicy()
_FAILURE_POLICIES: Final = {job_pb2.FailurePolicy.Value(f"FAILURE_POLICY_{policy}"): policy for policy in FailurePolicy}


NewId = Callable[[], str]

UPDATABLE: Final = ("priority", "display_name", "labels", "expire_time", "schedule_time", *SETTINGS)
MAX_PATHS: Final = 100
_LABEL_PATH: Final = "labels."


def fingerprint(request: Message, *, excluded: Iterable[str] = ()) -> bytes:
    """Return a fingerprint of a request, apart from some texts, which are removed from it for the moment."""
    texts = {name: getattr(request, name) for name in excluded}
    for name in texts:
        request.ClearField(name)
    mark = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    for name, text in texts.items():
        setattr(request, name, text)
    return mark


def create_job(
    request: api.CreateJobRequest, caller: Caller, new_id: NewId, traceparent: str = ""
) -> commands.CreateJob:
    """Return the command of CreateJob; `traceparent` is the trace of the call."""
    with Checks() as checks:
        uid = NO_UID if request.validate_only else uid_of(new_id())
        new, inputs = new_job(checks, request, caller.owner, request.job_id or new_id(), uid, traceparent)
        refuses_conflict = _refuses_conflict(checks, request)
    return commands.CreateJob(
        new,
        caller.name,
        request.request_id,
        inputs,
        request.validate_only,
        refuses_conflict,
        has_new_id=not request.job_id,
    )


def create_jobs(
    request: api.BatchCreateJobsRequest, caller: Caller, new_id: NewId, traceparent: str = ""
) -> list[commands.CreateJob | InvalidField]:
    """Return for each job of BatchCreateJobs its command, or what is wrong with it."""
    with Checks() as checks:
        checks.count("requests", len(request.requests), MAX_BATCH_JOBS, min_count=1)
        chunks = sum(map(chunk_count, request.requests))
        if chunks > limits.MAX_CHUNKS:
            checks.fault("requests", f"must have at most {limits.MAX_CHUNKS} chunks together; got {chunks}")
    creations: list[commands.CreateJob | InvalidField] = []
    for job in request.requests:
        job.validate_only |= request.validate_only
        try:
            creations.append(create_job(job, caller, new_id, traceparent))
        except InvalidField as error:
            creations.append(error.with_traceback(None))
    return creations


def new_job(
    checks: Checks,
    request: api.CreateJobRequest,
    owner: str,
    job_id: str,
    uid: bytes,
    traceparent: str = "",
    mark: bytes = b"",
) -> tuple[NewJob, Inputs]:
    """Return the job that a request describes, and its inputs; `mark` is its fingerprint if it has another one."""
    _check_names(checks, request)
    sizes = chunk_sizes(checks, request)
    inputs, finalizer_work = read_inputs(checks, request, sizes), read_finalizer_work(checks, request, sizes)
    stages = _stages(checks, request.stages) if request.stages else ()
    # what makes a job the same: not what a retry may compute anew, such as its labels
    content = (request.job_id, request.kind, sizes, stages, inputs.job, inputs.chunks, finalizer_work)
    spec = JobSpec(
        owner=owner,
        job_id=job_id,
        kind=request.kind,
        fingerprint=mark or hashlib.sha256(msgpack.encode(content)).digest(),
        retry_policy=_retry_policy(checks, request),
        failure_policy=checks.member(
            "failure_policy", request.failure_policy, _FAILURE_POLICIES, FailurePolicy.RUN_ALL
        ),
        stages=stages,
        traceparent=traceparent,
        unique_key=request.unique_key,
        unique_window=_unique_window(checks, request),
        run_timeout=_timeout(checks, request, "run_timeout"),
        attempt_timeout=_timeout(checks, request, "attempt_timeout"),
        uid_bytes=uid,
        limited_labels=_limited_labels(checks, request),
        finalizer_work=finalizer_work,
    )
    schedule, expire = _times(checks, request)
    new = NewJob(
        spec=spec,
        sizes=sizes,
        display_name=request.display_name,
        priority=read_priority(checks, request),
        labels=_own_labels(checks, request),
        schedule_time=schedule,
        expire_time=expire,
    )
    return new, inputs


def _own_labels(checks: Checks, request: Any) -> dict[str, str]:  # noqa: ANN401  of a new job, or of a change
    """Return the labels that a caller gives a job, of which none is the service's own."""
    checked = labels(checks, "labels", request.labels)
    for name in checked:
        checks.not_reserved(f'labels["{name}"]', name, "labels")
    return checked


def _times(checks: Checks, request: Any) -> tuple[Micros | None, Micros | None]:  # noqa: ANN401  of a new job, or of a change
    """Return a job's schedule_time and expire_time, None for absent ones; it must not expire before it may begin."""
    has = request.HasField
    schedule = checks.time_of_job("schedule_time", request.schedule_time) if has("schedule_time") else None
    expire = checks.time_of_job("expire_time", request.expire_time) if has("expire_time") else None
    if schedule is not None and expire is not None and expire < schedule:
        rule = f"value {time_text(expire)} must not be before schedule_time, {time_text(schedule)}"
        checks.fault("expire_time", rule)
    return schedule, expire


def _check_names(checks: Checks, request: api.CreateJobRequest) -> None:
    request_id(checks, request.request_id)
    if request.job_id:
        checks.job_id("job_id", request.job_id)
    checks.kind("kind", request.kind)
    checks.not_reserved("kind", request.kind)
    checks.at_most("display_name", request.display_name, 1_024)
    checks.unique_key("unique_key", request.unique_key)


def _unique_window(checks: Checks, request: api.CreateJobRequest) -> int | None:
    if request.HasField("unique_window") and not request.unique_key:
        checks.fault("unique_window", "must be absent without unique_key")
    return checks.span(request, "unique_window", limits.SECOND, limits.MAX_TIMEOUT, None)


def _refuses_conflict(checks: Checks, request: api.CreateJobRequest) -> bool:
    if not request.on_conflict:
        return False
    if request.on_conflict not in api.OnConflict.values():
        checks.one_of("on_conflict", request.on_conflict, ("RETURN", "REFUSE"))
    elif not request.unique_key:
        checks.fault("on_conflict", "must be absent without unique_key")
    return request.on_conflict == api.ON_CONFLICT_REFUSE


def request_id(checks: Checks, value: str) -> None:
    """Check that a request_id is empty or not too long."""
    checks.at_most("request_id", value, 128)


def read_priority(checks: Checks, request: Any) -> int:  # noqa: ANN401  several messages have one
    """Return the priority of a request, or the default."""
    if not request.HasField("priority"):
        return limits.DEFAULT_PRIORITY
    checks.within("priority", request.priority, limits.MIN_PRIORITY, limits.MAX_PRIORITY)
    return int(request.priority)


def _timeout(checks: Checks, request: Any, field: str) -> int | None:  # noqa: ANN401  of a new job, or of a change
    return checks.span(request, field, limits.SECOND, limits.MAX_TIMEOUT, None)


def _retry_policy(checks: Checks, request: Any) -> RetryPolicy:  # noqa: ANN401  of a new job, or of a change
    default, field = _DEFAULT, "retry_policy"
    if not request.HasField(field):
        return default
    sent: chunk_pb2.RetryPolicy = request.retry_policy
    attempts = sent.max_attempts if sent.HasField("max_attempts") else default.max_attempts
    checks.within(f"{field}.max_attempts", attempts, 1, 100)
    multiplier = sent.multiplier if sent.HasField("multiplier") else default.multiplier
    checks.within(f"{field}.multiplier", multiplier, 1, 10)
    jitter = sent.jitter if sent.HasField("jitter") else default.jitter
    checks.within(f"{field}.jitter", jitter, 0, 1)
    initial = checks.span(sent, f"{field}.initial_backoff", 0, DAY, default.initial_backoff)
    ceiling = checks.span(sent, f"{field}.max_backoff", initial, DAY, default.max_backoff)
    return RetryPolicy(attempts, initial, multiplier, max(ceiling, initial), jitter)


def _stages(checks: Checks, sent: Sequence[job_pb2.Stage]) -> tuple[Stage, ...]:
    checks.count("stages", len(sent), limits.MAX_STAGES)
    stages: dict[str, Stage] = {}
    for index, stage in enumerate(sent):
        checks.at_most(f"stages[{index}].name", stage.name, 128, min_length=1)
        if stage.name in stages:
            checks.fault(f"stages[{index}].name", f"value {stage.name!r} must be unique in the plan")
        weight = stage.weight if stage.HasField("weight") else 1.0
        if not 0 < weight <= 1_000_000:  # noqa: PLR2004  the contract's bound
            checks.fault(f"stages[{index}].weight", f"value {weight:g} must be above 0 and at most 1000000")
        stages[stage.name] = Stage(stage.name, weight)
    return tuple(stages.values())


def job_of(checks: Checks, request: Any) -> None:  # noqa: ANN401  many messages have both
    """Check the job_id and the uid of a request."""
    checks.job_id("job_id", request.job_id)
    checks.uid("uid", request.uid)


def cancel_job(request: api.CancelJobRequest, caller: Caller) -> commands.CancelJob:
    """Return the command of CancelJob."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        job_of(checks, request)
        how = cancellation(checks, request)
    return commands.CancelJob(owner, request.job_id, how, caller.name, request.etag, request.uid)


def cancellation(checks: Checks, request: Any) -> Cancellation:  # noqa: ANN401  of one job or of many
    """Return how a request stops jobs."""
    checks.reason(request.reason)
    grace = checks.span(request, "grace_period", 0, DAY, limits.DEFAULT_GRACE)
    return Cancellation(grace, request.reason, request.force)


def retry_job(request: api.RetryJobRequest, caller: Caller) -> commands.RetryJob:
    """Return the command of RetryJob."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        job_of(checks, request)
        request_id(checks, request.request_id)
        checks.reason(request.reason)
        checks.count("chunk_indexes", len(request.chunk_indexes), limits.MAX_CHUNKS)
        for place, index in enumerate(request.chunk_indexes):
            if index < 0:
                checks.at_least(f"chunk_indexes[{place}]", index, 0)
    mark = fingerprint(request, excluded=["request_id"])
    indexes = list(request.chunk_indexes)
    keys = commands.request_key(caller.owner, request.request_id)
    return commands.RetryJob(
        owner, request.job_id, indexes, caller.name, request.reason, keys, mark, request.etag, request.uid
    )


def update_job(request: api.UpdateJobRequest, caller: Caller) -> commands.UpdateJob:
    """Return the command of UpdateJob."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        job_of(checks, request)
        new = job_update(checks, request)
    return commands.UpdateJob(owner, request.job_id, new, caller.name, request.etag, request.reason, request.uid)


def job_update(checks: Checks, request: Any) -> JobUpdate:  # noqa: ANN401  of one job or of many
    """Return how a request changes jobs."""
    paths = request.update_mask.paths
    checks.count("update_mask", len(paths), MAX_PATHS, min_count=1)
    named = {path.removeprefix(_LABEL_PATH) for path in paths if path.startswith(_LABEL_PATH)}
    fields = frozenset(path for path in paths[:MAX_PATHS] if not path.startswith(_LABEL_PATH))
    for name in sorted(fields.difference(UPDATABLE)):
        checks.one_of("update_mask", shown(name), (*UPDATABLE, "labels.NAME"))
    for name in sorted(named):
        if not LABEL.fullmatch(name):
            checks.fault("update_mask", f"value {shown(_LABEL_PATH + name)} must be labels.NAME with {LABEL_FORM}")
        checks.not_reserved("update_mask", name, "labels")
    if named and "labels" in fields:
        checks.fault("update_mask", "must not name both labels and labels.NAME")
    if "priority" in fields and not request.HasField("priority"):
        checks.fault("priority", "is required when update_mask names it")
    checks.at_most("display_name", request.display_name, 1_024)
    checks.reason(request.reason)
    schedule, expire = _times(checks, request)
    new_labels = _own_labels(checks, request)
    return JobUpdate(
        fields=fields,
        priority=read_priority(checks, request),
        display_name=request.display_name,
        labels=new_labels,
        schedule_time=schedule,
        expire_time=expire,
        label_changes={name: new_labels.get(name) for name in named},
        retry_policy=_retry_policy(checks, request),
        run_timeout=_timeout(checks, request, "run_timeout"),
        attempt_timeout=_timeout(checks, request, "attempt_timeout"),
    )


def delete_job(request: api.DeleteJobRequest, caller: Caller) -> commands.DeleteJob:
    """Return the command of DeleteJob."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        job_of(checks, request)
        checks.reason(request.reason)
    return commands.DeleteJob(
        owner,
        request.job_id,
        caller.name,
        force=request.force,
        etag=request.etag,
        reason=request.reason,
        delete_artifacts=request.delete_artifacts,
        uid=request.uid,
    )


def job_id(request: Any) -> str:  # noqa: ANN401  many messages have one
    """Return the job_id of a request."""
    if not JOB_ID.fullmatch(request.job_id):
        with Checks() as checks:
            checks.job_id("job_id", request.job_id)
    return str(request.job_id)


def job_uid(request: Any) -> str:  # noqa: ANN401  many messages have one
    """Return the uid of a request, empty when it names none."""
    with Checks() as checks:
        checks.uid("uid", request.uid)
    return str(request.uid)


def batch_ids(request: api.BatchGetJobsRequest) -> list[str]:
    """Return the jobs of BatchGetJobs, each once."""
    job_ids = list(request.job_ids)
    with Checks() as checks:
        checks.job_ids("job_ids", job_ids, 500, min_count=1)
    return list(dict.fromkeys(job_ids))


def _limited_labels(checks: Checks, request: api.CreateJobRequest) -> tuple[str, ...]:
    names = request.limited_labels
    checks.count("limited_labels", len(names), MAX_LIMITED_LABELS)
    for index, name in enumerate(names):
        if name not in request.labels:
            checks.fault(f"limited_labels[{index}]", f"value {shown(name)} must be one of the job's labels")
        elif name in names[:index]:
            checks.fault(f"limited_labels[{index}]", f"value {shown(name)} must be unique")
    return tuple(names)
