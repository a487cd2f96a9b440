"""The parts of requests that take more than one step to build from keyword arguments."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypedDict

from google.protobuf.field_mask_pb2 import FieldMask
from jobledger.v1.chunk_pb2 import ChunkSpec, RetryPolicy
from jobledger.v1.export_pb2 import ExportJobsRequest
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_pb2 import Stage
from jobledger.v1.job_service_pb2 import JobLimit, UpdateJobRequest
from jobledger.v1.webhook_service_pb2 import UpdateWebhookRequest
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkRelease, LeaseReport, ProgressReport

from jobledger_client import _values as values
from jobledger_client._structs import check_artifacts, struct

ChunkSpecLike: TypeAlias = ChunkSpec | Mapping[str, Any]
StagesLike: TypeAlias = Mapping[str, float] | Iterable[Stage | str]
LimitsLike: TypeAlias = Mapping[str, int] | Iterable[JobLimit]


class JobFilterFields(TypedDict, total=False):
    """The fields of a filter of jobs; a job must match all of them.

    `states` and `kinds` are those to include; priorities are 0 to 10, inclusive; a time range is (start, end), either
    may be None, start inclusive, end exclusive; the job must have all `labels`; each word of `search` must begin a word
    of the name, the kind, a label's value or the error's message, regardless of case and accents. `owner` is whose
    jobs, by default the key's own; another owner needs an admin's key, and only reads accept one. The service's own
    jobs, of kinds that begin with "jobledger.", match only with `include_service_jobs` or with their kind in `kinds`.
    """

    states: Iterable[values.JobStateLike]
    kinds: Iterable[str]
    min_priority: int | None
    max_priority: int | None
    create_time: values.TimeRangeLike | None
    update_time: values.TimeRangeLike | None
    end_time: values.TimeRangeLike | None
    labels: Mapping[str, str]
    search: str
    owner: str
    include_service_jobs: bool


def job_filter(fields: JobFilterFields) -> JobFilter:
    """Return the filter of these fields.

    Raises TypeError for an unknown field: ignoring it would select more jobs than the caller means.
    """
    _check_fields(fields)
    return JobFilter(
        states=[values.job_state(state) for state in fields.get("states", ())],
        kinds=fields.get("kinds", ()),
        min_priority=fields.get("min_priority"),
        max_priority=fields.get("max_priority"),
        create_time=values.time_range(fields.get("create_time")),
        update_time=values.time_range(fields.get("update_time")),
        end_time=values.time_range(fields.get("end_time")),
        labels=fields.get("labels", {}),
        search=fields.get("search", ""),
        owner=fields.get("owner", ""),
        include_service_jobs=fields.get("include_service_jobs", False),
    )


def _check_fields(fields: JobFilterFields) -> None:
    for name, value in fields.items():
        if name not in JobFilterFields.__annotations__:
            raise TypeError(f"a filter field must be one of {', '.join(JobFilterFields.__annotations__)}; got {name!r}")
        if name in ("states", "kinds") and isinstance(value, str):
            raise TypeError(f"{name} must be a list of strings, such as [{value!r}]; got the string {value!r}")


def export_request(
    format: values.ExportFormatLike,  # noqa: A002 - the contract's name for it
    columns: Iterable[str],
    label_columns: Iterable[str],
    fields: JobFilterFields,
) -> ExportJobsRequest:
    """Return the request that starts an export."""
    return ExportJobsRequest(
        filter=job_filter(fields),
        format=values.export_format(format),
        columns=columns,
        label_columns=label_columns,
    )


def chunk_specs(chunks: Iterable[ChunkSpecLike]) -> list[ChunkSpec]:
    """Return chunk specs; a mapping is the input of a chunk of one item. Raises ValueError for other input."""
    return [_chunk_spec(chunk, f"chunks[{index}].input") for index, chunk in enumerate(chunks)]


def _chunk_spec(chunk: ChunkSpecLike, field: str) -> ChunkSpec:
    if not isinstance(chunk, ChunkSpec):
        return ChunkSpec(input=struct(chunk, field))
    if chunk.HasField("input"):
        struct(chunk.input, field)
    return chunk


def stage_plan(stages: StagesLike) -> list[Stage]:
    """Return a plan from names to weights, or from names alone (all of weight 1)."""
    if isinstance(stages, Mapping):
        plan = [Stage(name=name, weight=weight) for name, weight in stages.items()]
    else:
        plan = [stage if isinstance(stage, Stage) else Stage(name=stage) for stage in stages]
    for index, stage in enumerate(plan):
        values.finite(stage.weight, f"stages[{index}].weight")
    return plan


def retry_policy(policy: RetryPolicy | None) -> RetryPolicy | None:
    """Return the policy. Raises ValueError for a number that is not finite."""
    if policy is not None:
        values.finite(policy.multiplier, "retry_policy.multiplier")
        values.finite(policy.jitter, "retry_policy.jitter")
    return policy


def job_limits(limits: LimitsLike) -> list[JobLimit]:
    """Return the limits that a job sets: "kind" is for its kind, "label:NAME" for its value of that label."""
    if isinstance(limits, Mapping):
        return [JobLimit(label=_limit_label(scope), max_running=limit) for scope, limit in limits.items()]
    return list(limits)


def _limit_label(scope: str) -> str:
    scope_type, _, name = scope.partition(":")
    if (scope_type, name) == ("kind", ""):
        return ""
    if scope_type == "label" and name:
        return name
    raise ValueError(f'unknown limit {scope!r}; a limit of a job must be "kind" or "label:NAME"')


def completions(items: Iterable[ChunkCompletion | str]) -> list[ChunkCompletion]:
    """Return completions; a string is a lease token without a last report."""
    messages = [ChunkCompletion(lease_token=item) if isinstance(item, str) else item for item in items]
    for index, completion in enumerate(messages):
        _check_report(completion.progress, f"completions[{index}].progress")
    return messages


def lease_reports(reports: Iterable[LeaseReport]) -> list[LeaseReport]:
    """Return the reports. Raises ValueError for a number or metadata that JSON cannot hold."""
    messages = list(reports)
    for index, report in enumerate(messages):
        _check_report(report.progress, f"reports[{index}].progress")
    return messages


def releases(items: Iterable[ChunkRelease | str]) -> list[ChunkRelease]:
    """Return releases; a string is a lease token without a last report."""
    messages = [ChunkRelease(lease_token=item) if isinstance(item, str) else item for item in items]
    for index, release in enumerate(messages):
        _check_report(release.progress, f"releases[{index}].progress")
    return messages


def _check_report(report: ProgressReport, field: str) -> None:
    values.finite(report.percent, f"{field}.percent")
    values.finite(report.stage_percent, f"{field}.stage_percent")
    check_artifacts(report.artifacts, f"{field}.artifacts")
    check_artifacts(report.job_artifacts, f"{field}.job_artifacts")


def update_request(
    job_id: str,
    *,
    priority: int | None,
    display_name: str | None,
    labels: Mapping[str, str] | None,
    expire_time: values.TimestampLike | None,
    keep_forever: bool,
    etag: str,
) -> UpdateJobRequest:
    """Return the update; its mask names the fields that are not None."""
    changed = {
        "priority": priority is not None,
        "display_name": display_name is not None,
        "labels": labels is not None,
        "expire_time": expire_time is not None or keep_forever,
    }
    if keep_forever and expire_time is not None:
        raise ValueError("expire_time and keep_forever exclude each other; pass one of them")
    return UpdateJobRequest(
        job_id=job_id,
        update_mask=FieldMask(paths=[path for path, is_changed in changed.items() if is_changed]),
        priority=priority,
        display_name=display_name or "",
        labels=labels or {},
        expire_time=values.timestamp(expire_time),
        etag=etag,
    )


def update_webhook_request(
    webhook_id: str,
    *,
    url: str | None,
    event_types: Iterable[values.WebhookEventTypeLike] | None,
    progress_percents: Iterable[int] | None,
    kinds: Iterable[str] | None,
    labels: Mapping[str, str] | None,
    description: str | None,
    disabled: bool | None,
) -> UpdateWebhookRequest:
    """Return the update; its mask names the fields that are not None."""
    fields = {
        "url": url,
        "event_types": event_types,
        "progress_percents": progress_percents,
        "kinds": kinds,
        "labels": labels,
        "description": description,
        "disabled": disabled,
    }
    return UpdateWebhookRequest(
        webhook_id=webhook_id,
        update_mask=FieldMask(paths=[path for path, value in fields.items() if value is not None]),
        url=url or "",
        event_types=[values.webhook_event_type(event_type) for event_type in event_types or ()],
        progress_percents=progress_percents or (),
        kinds=kinds or (),
        labels=labels or {},
        description=description or "",
        disabled=bool(disabled),
    )
