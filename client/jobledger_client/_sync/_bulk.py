# Generated from _async/_bulk.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls of JobService that act on many jobs at once."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

from jobledger.v1 import bulk_pb2 as bulk
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._job_changes import JobChanges
from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class BulkCalls:
    """One verb over many jobs: those of `job_ids` (1 to 10,000), or those that match a filter with a condition.

    `owner` is a field of the filter, and names whose jobs `job_ids` are, too.

    The response's `job` is the run, a job of kind "jobledger.bulk": `client.wait(response.job.job_id)` returns it when
    it has ended, and the metadata of its artifact "report" counts what was applied, unchanged and refused. With
    `validate_only`, or without a matching job, there is no run, only `matched_count` and a `sample`. Without a
    `request_id` the client makes one, so that a repeated attempt starts no second run. Each call raises
    InvalidFieldError and RequestIdReusedError beside the errors of every write.
    """

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = JobServiceStub(channel)
        self._caller = caller

    def cancel_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        grace_period: values.DurationLike | None = None,
        force: bool = False,
        validate_only: bool = False,
        request_id: str = "",
        timeout: timedelta | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.CancelJobsResponse:
        """Stop many jobs, each as cancel_job does."""
        request = bulk.CancelJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            validate_only=validate_only,
            request_id=request_id or str(uuid4()),
            reason=reason,
            grace_period=values.duration(grace_period),
            force=force,
        )
        return self._caller.call(self._stub.CancelJobs, request, timeout=timeout)

    def retry_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        validate_only: bool = False,
        request_id: str = "",
        timeout: timedelta | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.RetryJobsResponse:
        """Run the failed and cancelled chunks of many jobs again, each as retry_job does."""
        request = bulk.RetryJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            validate_only=validate_only,
            request_id=request_id or str(uuid4()),
            reason=reason,
        )
        return self._caller.call(self._stub.RetryJobs, request, timeout=timeout)

    def delete_jobs(
        self,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        force: bool = False,
        delete_artifacts: bool = False,
        validate_only: bool = False,
        request_id: str = "",
        timeout: timedelta | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.DeleteJobsResponse:
        """Delete many jobs, each as delete_job does."""
        request = bulk.DeleteJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            validate_only=validate_only,
            request_id=request_id or str(uuid4()),
            reason=reason,
            force=force,
            delete_artifacts=delete_artifacts,
        )
        return self._caller.call(self._stub.DeleteJobs, request, timeout=timeout)

    def update_jobs(
        self,
        changes: JobChanges,
        *,
        job_ids: Iterable[str] = (),
        reason: str = "",
        validate_only: bool = False,
        request_id: str = "",
        timeout: timedelta | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> bulk.UpdateJobsResponse:
        """Change many jobs, each as update_job does; a job that refuses the change is counted. Raises ValueError."""
        request = bulk.UpdateJobsRequest(
            filter=_filter(filter),
            job_ids=job_ids,
            validate_only=validate_only,
            request_id=request_id or str(uuid4()),
            reason=reason,
            **changes.fields(),
        )
        return self._caller.call(self._stub.UpdateJobs, request, timeout=timeout)


def _filter(fields: requests.JobFilterFields) -> JobFilter | None:
    return requests.job_filter(fields) if fields else None
