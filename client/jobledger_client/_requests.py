"""The parts of requests that take more than one step to build from keyword arguments."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypedDict, TypeVar, cast

from google.protobuf.field_mask_pb2 import FieldMask
from jobledger.v1 import chunk_pb2, job_pb2
from jobledger.v1.export_pb2 import ExportJobsRequest
from jobledger.v1.filter_pb2 import LABEL_OPERATOR_EXISTS, LABEL_OPERATOR_IN, JobFilter, LabelCondition
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkRelease, LeaseReport, ProgressReport

from jobledger_client import _values as values
from jobledger_client._generated._enums import ExportFormat, JobState
from jobledger_client._policies import ChunkSpec, FinalizerSpec, RetryPolicy, Stage
from jobledger_client._structs import check_artifacts, struct

ChunkSpecLike: TypeAlias = ChunkSpec | Mapping[str, Any]
FinalizerLike: TypeAlias = FinalizerSpec | Mapping[str, Any]
StageLike: TypeAlias = Stage | job_pb2.Stage | str
StagesLike: TypeAlias = Mapping[str, float] | Iterable[StageLike]
RetryPolicyLike: TypeAlias = RetryPolicy | chunk_pb2.RetryPolicy


class JobFilterFields(TypedDict, total=False):
    """The fields of a filter of jobs; a job must match all of them.

    `states` and `kinds` are those to include; priorities are 0 to 10, inclusive; a time range is (start, end), either
    may be None, start inclusive, end exclusive; the job must have all `labels`; each word of `search` must begin a word
    of the name, the kind, the job_id, a label's value or the error, regardless of case and accents. `labels_in` are
    labels with the values of which the job must have one, `has_labels` labels that it must have with any value.
    `unique_key` and `error_code` are compared as a whole. `owner` is whose jobs, by default the key's own; another
    owner needs an admin's key. The service's own jobs, of kinds that begin with
    "jobledger.", match only with `include_service_jobs` or with their kind in `kinds`. `task_id` is the id that an
    external engine gave an attempt; watches and exports do not accept one.
    """

    states: Iterable[JobState]
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
    task_id: str
    unique_key: str
    error_code: str
    start_time: values.TimeRangeLike | None
    schedule_time: values.TimeRangeLike | None
    labels_in: Mapping[str, Iterable[str]]
    has_labels: Iterable[str]


class ReadFilterFields(JobFilterFields, total=False):
    """The fields of a filter for reads: also up to 500 `job_ids`.

    `all_owners` includes the jobs of all owners: only in `watch_jobs`, and with an admin's key.
    """

    job_ids: Iterable[str]
    all_owners: bool


def job_filter(fields: JobFilterFields | ReadFilterFields) -> JobFilter:
    """Return the filter of these fields.

    Raises TypeError for an unknown field: ignoring it would select more jobs than the caller means.
    """
    _check_fields(fields)
    of_read = cast("ReadFilterFields", fields)
    return JobFilter(
        states=values.numbers(fields.get("states", ())),
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
        task_id=fields.get("task_id", ""),
        job_ids=of_read.get("job_ids", ()),
        all_owners=of_read.get("all_owners", False),
        unique_key=fields.get("unique_key", ""),
        error_code=fields.get("error_code", ""),
        start_time=values.time_range(fields.get("start_time")),
        schedule_time=values.time_range(fields.get("schedule_time")),
        label_conditions=[
            *(_label_in(name, among) for name, among in fields.get("labels_in", {}).items()),
            *(LabelCondition(name=name, operator=LABEL_OPERATOR_EXISTS) for name in fields.get("has_labels", ())),
        ],
    )


def _label_in(name: str, among: Iterable[str]) -> LabelCondition:
    return LabelCondition(name=name, operator=LABEL_OPERATOR_IN, values=names(f"labels_in[{name!r}]", among))


def names(field: str, values: Iterable[str]) -> Iterable[str]:
    """Return names. Raises TypeError for a single string, whose letters would be the names."""
    if isinstance(values, str):
        raise TypeError(f"{field} must be a list of strings, such as [{values!r}]; got the string {values!r}")
    return values


def _check_fields(fields: JobFilterFields | ReadFilterFields) -> None:
    for name, value in fields.items():
        if name not in ReadFilterFields.__annotations__:
            raise TypeError(
                f"a filter field must be one of {', '.join(ReadFilterFields.__annotations__)}; got {name!r}"
            )
        if name in ("states", "kinds", "job_ids", "has_labels"):
            names(name, value)  # type: ignore[arg-type]  # a TypedDict's values are objects


def export_request(
    format: ExportFormat,  # noqa: A002 - the contract's name for it
    columns: Iterable[str],
    label_columns: Iterable[str],
    fields: JobFilterFields | ReadFilterFields,
) -> ExportJobsRequest:
    """Return the request that starts an export."""
    return ExportJobsRequest(
        filter=job_filter(fields),
        format=values.number(format),
        columns=columns,
        label_columns=label_columns,
    )


def chunk_specs(chunks: Iterable[ChunkSpecLike]) -> list[chunk_pb2.ChunkSpec]:
    """Return the chunks of a new job. Raises ValueError for an input that JSON cannot hold."""
    specs = (chunk if isinstance(chunk, ChunkSpec) else ChunkSpec(input=chunk) for chunk in chunks)
    return [
        chunk_pb2.ChunkSpec(input=struct(spec.input, f"chunks[{index}].input"), item_count=spec.item_count)
        for index, spec in enumerate(specs)
    ]


def finalizer_spec(finalizer: FinalizerLike | None) -> chunk_pb2.FinalizerSpec | None:
    """Return the finalizer of a new job; a mapping is its input. Raises ValueError for what JSON cannot hold."""
    if finalizer is None:
        return None
    spec = finalizer if isinstance(finalizer, FinalizerSpec) else FinalizerSpec(input=finalizer)
    weight = None if spec.weight is None else values.finite(spec.weight, "finalizer.weight")
    return chunk_pb2.FinalizerSpec(input=struct(spec.input, "finalizer.input"), weight=weight)


def stage_plan(stages: StagesLike) -> list[job_pb2.Stage]:
    """Return a plan from names to weights, or from stages and names (of weight 1)."""
    named = (Stage(*item) for item in stages.items()) if isinstance(stages, Mapping) else stages
    plan = [_stage(stage) for stage in named]
    for index, stage in enumerate(plan):
        values.finite(stage.weight, f"stages[{index}].weight")
    return plan


def _stage(stage: StageLike) -> job_pb2.Stage:
    match stage:
        case job_pb2.Stage():
            return stage
        case Stage():
            return job_pb2.Stage(name=stage.name, weight=stage.weight)
        case _:
            return job_pb2.Stage(name=stage)


def retry_policy(policy: RetryPolicyLike | None, max_attempts: int | None) -> chunk_pb2.RetryPolicy | None:
    """Return the policy, or one of `max_attempts` alone. Raises ValueError for both, and for a number not finite."""
    if policy is None:
        return None if max_attempts is None else chunk_pb2.RetryPolicy(max_attempts=max_attempts)
    if max_attempts is not None:
        raise ValueError("max_attempts and retry_policy exclude each other; pass RetryPolicy(max_attempts=…)")
    if isinstance(policy, RetryPolicy):
        policy = chunk_pb2.RetryPolicy(
            max_attempts=policy.max_attempts,
            initial_backoff=values.duration(policy.initial_backoff),
            multiplier=policy.multiplier,
            max_backoff=values.duration(policy.max_backoff),
            jitter=policy.jitter,
        )
    values.finite(policy.multiplier, "retry_policy.multiplier")
    values.finite(policy.jitter, "retry_policy.jitter")
    return policy


Report = TypeVar("Report", ChunkCompletion, ChunkRelease, LeaseReport)


def reports(message: type[Report], items: Iterable[Report | str], field: str) -> list[Report]:
    """Return messages of this type; a string is a lease token without a last report.

    Raises ValueError for a number or metadata that JSON cannot hold.
    """
    messages = [message(lease_token=item) if isinstance(item, str) else item for item in items]
    for index, one in enumerate(messages):
        _check_report(one.progress, f"{field}[{index}].progress")
    return messages


def _check_report(report: ProgressReport, field: str) -> None:
    values.finite(report.percent, f"{field}.percent")
    values.finite(report.stage_percent, f"{field}.stage_percent")
    check_artifacts(report.artifacts, f"{field}.artifacts")
    check_artifacts(report.job_artifacts, f"{field}.job_artifacts")


def changes(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - values of fields
    """Return the fields of an update that are not None, with the mask that names them."""
    changed = {name: value for name, value in fields.items() if value is not None}
    return {**changed, "update_mask": FieldMask(paths=list(changed))}
