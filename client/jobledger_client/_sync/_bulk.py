# Generated from _async/_bulk.py by client/generate_sync.py: edit that one, then run `make gen`.
"""The calls of JobService that act on many jobs at once."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

from jobledger.v1 import bulk_pb2 as bulk
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class BulkCalls:
    """One verb over many jobs: those of `job_ids` (1 to 10,000), or those that a filter with a condition finds.

    The answer's `job` is the run, a job of kind "jobledger.bulk": `wait(answer.job.job_id)` returns it when it is done,
    and its artifact "report" says in its metadata what was applied, unchanged and refused. With `dry_run` there is no
    run, only `matched_count` and a `sample`; there is none either when no job is meant. Without a `request_id` one is
    made, so that a repeated attempt begins no second run. Each raises InvalidFieldError and RequestIdReusedError beside
    the errors of every write.
    """

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._bulk_stub = JobServiceStub(channel)
        self._bulk_caller = caller

    def cancel_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        grace_period: values.DurationLike | None = None,
        force: bool = False,
        dry_run: bool = False,
        request_id: str = "",
        timeout: float | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.CancelJobsResponse:
        """Stop many jobs, each as cancel_job does."""
        request = bulk.CancelJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            dry_run=dry_run,
            request_id=request_id or str(uuid4()),
            reason=reason,
            grace_period=values.duration(grace_period),
            force=force,
        )
        return self._bulk_caller.call(self._bulk_stub.CancelJobs, request, timeout=timeout)

    def retry_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        dry_run: bool = False,
        request_id: str = "",
        timeout: float | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.RetryJobsResponse:
        """Run the failed and cancelled chunks of many jobs again, each as retry_job does."""
        request = bulk.RetryJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            dry_run=dry_run,
            request_id=request_id or str(uuid4()),
            reason=reason,
        )
        return self._bulk_caller.call(self._bulk_stub.RetryJobs, request, timeout=timeout)

    def delete_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        force: bool = False,
        delete_artifacts: bool = False,
        dry_run: bool = False,
        request_id: str = "",
        timeout: float | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.DeleteJobsResponse:
        """Remove many jobs, each as delete_job does."""
        request = bulk.DeleteJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            dry_run=dry_run,
            request_id=request_id or str(uuid4()),
            force=force,
            delete_artifacts=delete_artifacts,
        )
        return self._bulk_caller.call(self._bulk_stub.DeleteJobs, request, timeout=timeout)

    def update_job_priorities(
        self,
        priority: int,
        *,
        job_ids: Iterable[str] = (),
        dry_run: bool = False,
        request_id: str = "",
        timeout: float | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.UpdateJobPrioritiesResponse:
        """Give many jobs a priority, 0 to 10. A job that has ended refuses it."""
        request = bulk.UpdateJobPrioritiesRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            dry_run=dry_run,
            request_id=request_id or str(uuid4()),
            priority=priority,
        )
        return self._bulk_caller.call(self._bulk_stub.UpdateJobPriorities, request, timeout=timeout)


def _filter(fields: requests.JobFilterFields) -> JobFilter | None:
    """Return the filter that was given, None when none was."""
    return requests.job_filter(fields) if fields else None
