"""New jobs as values, their requests, and the outcomes of creating many."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Final
from uuid import uuid4

from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.job_pb2 import Job

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import FailurePolicy, OnConflict
from jobledger_client._status import error_of_entry
from jobledger_client._structs import struct

MAX_BATCH_JOBS: Final = 500
MAX_BATCH_CHUNKS: Final = 10_000
MAX_BATCH_BYTES: Final = 1024 * 1024
ITEMS_PER_CHUNK: Final = 500
"""The service's default."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be created: the parameters of `create_job` as a value, for `create_jobs`.

    Without a `request_id` it has one of its own, so that it is created once, however often it is sent.
    """

    kind: str
    _: KW_ONLY
    job_id: str = ""
    display_name: str = ""
    priority: int | None = None
    input: values.StructLike | None = None
    labels: Mapping[str, str] | None = None
    item_count: int | None = None
    chunk_size: int | None = None
    chunks: Iterable[requests.ChunkSpecLike] = ()
    finalizer: requests.FinalizerLike | None = None
    max_attempts: int | None = None
    retry_policy: requests.RetryPolicyLike | None = None
    failure_policy: FailurePolicy | None = None
    stages: requests.StagesLike = ()
    expire_time: values.TimestampLike | timedelta | None = None
    schedule_time: values.TimestampLike | timedelta | None = None
    run_timeout: values.DurationLike | None = None
    attempt_timeout: values.DurationLike | None = None
    limited_labels: Iterable[str] = ()
    unique_key: str = ""
    unique_window: values.DurationLike | None = None
    on_conflict: OnConflict | None = None
    request_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """The outcome of one job of `create_jobs`: the job, and whether it is new; or the error that refused it."""

    new: NewJob
    job: Job | None = None
    created: bool = False
    error: JobledgerError | None = None


def create_request(new: NewJob, *, validate_only: bool = False) -> rpc.CreateJobRequest:
    """Return the request that creates a job. Raises ValueError for a value that JSON cannot hold."""
    return rpc.CreateJobRequest(
        request_id=new.request_id,
        job_id=new.job_id,
        kind=new.kind,
        display_name=new.display_name,
        priority=new.priority,
        input=struct(new.input, "input"),
        labels=new.labels or {},
        item_count=new.item_count,
        chunk_size=new.chunk_size,
        chunks=requests.chunk_specs(new.chunks),
        finalizer=requests.finalizer_spec(new.finalizer),
        retry_policy=requests.retry_policy(new.retry_policy, new.max_attempts),
        failure_policy=values.number(new.failure_policy),
        stages=requests.stage_plan(new.stages),
        expire_time=values.future_time(new.expire_time),
        schedule_time=values.future_time(new.schedule_time),
        run_timeout=values.duration(new.run_timeout),
        attempt_timeout=values.duration(new.attempt_timeout),
        limited_labels=requests.names("limited_labels", new.limited_labels),
        unique_key=new.unique_key,
        unique_window=values.duration(new.unique_window),
        on_conflict=values.number(new.on_conflict),
        validate_only=validate_only,
    )


def batches(
    jobs: Iterable[NewJob], *, validate_only: bool
) -> Iterator[tuple[Sequence[NewJob], rpc.BatchCreateJobsRequest]]:
    """Yield the jobs with their requests, each within the bounds of jobs, chunks and bytes, or of one job."""
    batch: list[NewJob] = []
    batch_request = rpc.BatchCreateJobsRequest(validate_only=validate_only)
    chunks = size = 0
    for job in jobs:
        request = create_request(job)
        more, longer = chunk_count(request), request.ByteSize()
        if batch and not fits(len(batch) + 1, chunks + more, size + longer):
            yield batch, batch_request
            batch, batch_request = [], rpc.BatchCreateJobsRequest(validate_only=validate_only)
            chunks = size = 0
        batch.append(job)
        batch_request.requests.append(request)
        chunks, size = chunks + more, size + longer
    if batch:
        yield batch, batch_request


def fits(jobs: int, chunks: int, size: int) -> bool:
    """Return whether one call may carry so many jobs, chunks and bytes."""
    return jobs <= MAX_BATCH_JOBS and chunks <= MAX_BATCH_CHUNKS and size <= MAX_BATCH_BYTES


def chunk_count(request: rpc.CreateJobRequest) -> int:
    """Return how many chunks the job will have."""
    more = request.HasField("finalizer")
    if request.chunks or not request.HasField("item_count"):
        return max(len(request.chunks), 1) + more
    return max(-(-request.item_count // max(request.chunk_size or ITEMS_PER_CHUNK, 1)), 1) + more


def outcomes(batch: Sequence[NewJob], response: rpc.BatchCreateJobsResponse) -> Iterator[JobOutcome]:
    """Yield the outcomes of a batch."""
    for new, result in zip(batch, response.results, strict=True):
        if result.HasField("error"):
            yield JobOutcome(new, error=error_of_entry(result.error))
        else:
            yield JobOutcome(new, result.job, result.created)
