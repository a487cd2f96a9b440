"""The calls of JobService, for those who want work done."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

import grpc
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.chunk_pb2 import Chunk, RetryPolicy
from jobledger.v1.event_pb2 import JobEvent
from jobledger.v1.job_pb2 import FailurePolicy, Job, JobView
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._pages import AsyncPages
from jobledger_client._async._watch import AsyncWatch
from jobledger_client._errors import JobNotFoundError
from jobledger_client._snapshots import Relist
from jobledger_client._structs import struct

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel

_DELETED = rpc.WatchMessageType.WATCH_MESSAGE_TYPE_DELETED


class AsyncJobCalls:
    """What callers ask of the service.

    A method answers with the one message that the response carries, or with the response when it carries more. Each
    takes `timeout`, the seconds until it gives up, retries included; None is the client's default. Beside the errors
    that a method names, each may raise UnavailableError, DeadlineExceededError, InternalError, and for a write
    QueueFullError.
    """

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._jobs = JobServiceStub(channel)
        self._caller = caller

    async def create_job(
        self,
        kind: str,
        *,
        job_id: str = "",
        display_name: str = "",
        priority: int | None = None,
        input: values.StructLike | None = None,  # noqa: A002 - the contract's name for it
        labels: Mapping[str, str] | None = None,
        item_count: int | None = None,
        chunk_size: int | None = None,
        chunks: Iterable[requests.ChunkSpecLike] = (),
        retry_policy: RetryPolicy | None = None,
        failure_policy: values.FailurePolicyLike = FailurePolicy.FAILURE_POLICY_UNSPECIFIED,
        stages: requests.StagesLike = (),
        expire_time: values.TimestampLike | None = None,
        limits: requests.LimitsLike = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> rpc.CreateJobResponse:
        """Create a job and its chunks; the response says in `created` whether it is new.

        Give `item_count` (and `chunk_size`, 500 when None), or `chunks`, or neither for a job of one chunk. A mapping
        in `chunks` is the input of a chunk of one item. `priority` is 0 to 10, 5 when None. `stages` are names, or
        names with weights. `limits` are concurrency limits that the job brings along: {"kind": 2} for all jobs of its
        kind, {"label:gpu": 1} for all with its value of that label. Without a `request_id` one is made, so that a
        repeated attempt creates no second job.

        Inputs are what JSON can hold without loss: a ValueError names the path of what it cannot, such as NaN, an
        integer beyond ±2**53 (send a string), a date, a set or bytes, and of what is nested more than 24 levels deep.

        Raises ValueError, InvalidFieldError, JobAlreadyExistsError, RequestIdReusedError.
        """
        request = rpc.CreateJobRequest(
            request_id=request_id or str(uuid4()),
            job_id=job_id,
            kind=kind,
            display_name=display_name,
            priority=priority,
            input=struct(input, "input"),
            labels=labels or {},
            item_count=item_count,
            chunk_size=chunk_size,
            chunks=requests.chunk_specs(chunks),
            retry_policy=requests.retry_policy(retry_policy),
            failure_policy=values.failure_policy(failure_policy),
            stages=requests.stage_plan(stages),
            expire_time=values.timestamp(expire_time),
            limits=requests.job_limits(limits),
        )
        return await self._caller.call(self._jobs.CreateJob, request, timeout=timeout)

    async def get_job(
        self,
        job_id: str,
        *,
        view: values.JobViewLike = JobView.JOB_VIEW_FULL,
        timeout: float | None = None,
    ) -> Job:
        """Return the job with its input and first 1,000 chunks; without both in view BASIC, the least in STATUS.

        Large chunks may be fewer: `list_chunks` goes on from the job's `next_chunks_page_token`, if there is one.

        Raises InvalidFieldError, JobNotFoundError.
        """
        request = rpc.GetJobRequest(job_id=job_id, view=values.job_view(view))
        return (await self._caller.call(self._jobs.GetJob, request, timeout=timeout)).job

    async def batch_get_jobs(
        self,
        job_ids: Iterable[str],
        *,
        view: values.JobViewLike = JobView.JOB_VIEW_FULL,
        timeout: float | None = None,
    ) -> rpc.BatchGetJobsResponse:
        """Return 1 to 500 jobs, and the ids that were not found. Raises InvalidFieldError.

        They are from one moment, but for large jobs, more than 3 MiB together, which take several calls. View STATUS
        is for those who ask for hundreds again and again: state, percent, stage, eta and little else.
        """
        request = rpc.BatchGetJobsRequest(job_ids=job_ids, view=values.job_view(view))
        response = await self._caller.call(self._jobs.BatchGetJobs, request, timeout=timeout)
        while response.unread_job_ids:
            rest = rpc.BatchGetJobsRequest(job_ids=response.unread_job_ids, view=request.view)
            response.ClearField("unread_job_ids")
            response.MergeFrom(await self._caller.call(self._jobs.BatchGetJobs, rest, timeout=timeout))
        return response

    def list_jobs(
        self,
        *,
        order: values.JobOrderLike = rpc.JobOrder.JOB_ORDER_CREATE_TIME,
        ascending: bool = False,
        page_size: int = 0,
        page_token: str = "",
        view: values.JobViewLike = JobView.JOB_VIEW_BASIC,
        timeout: float | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> AsyncPages[rpc.ListJobsResponse, Job]:
        """List the jobs that match the filter, newest (or highest) first unless `ascending`.

        `page_size` is 1 to 500, 20 when 0. Where a page has fewer, even none, iterating goes on to the
        next. A page's `cursor` is where watch_jobs goes on without a gap.
        """
        request = rpc.ListJobsRequest(
            filter=requests.job_filter(filter),
            order=values.job_order(order),
            ascending=ascending,
            page_size=page_size,
            view=values.job_view(view),
        )

        async def fetch(token: str) -> rpc.ListJobsResponse:
            page = rpc.ListJobsRequest(page_token=token)
            page.MergeFrom(request)
            return await self._caller.call(self._jobs.ListJobs, page, timeout=timeout)

        return AsyncPages(fetch, lambda page: page.jobs, page_token)

    def list_chunks(
        self,
        job_id: str,
        *,
        states: Iterable[values.ChunkStateLike] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[rpc.ListChunksResponse, Chunk]:
        """List a job's chunks by index, of these states or all. `page_size` is 1 to 1,000, 100 when 0."""
        wanted = [values.chunk_state(state) for state in states]

        async def fetch(token: str) -> rpc.ListChunksResponse:
            request = rpc.ListChunksRequest(job_id=job_id, states=wanted, page_size=page_size, page_token=token)
            return await self._caller.call(self._jobs.ListChunks, request, timeout=timeout)

        return AsyncPages(fetch, lambda page: page.chunks, page_token)

    def list_job_events(
        self,
        job_id: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[rpc.ListJobEventsResponse, JobEvent]:
        """List a job's history, oldest first, also of a deleted job. `page_size` is 1 to 500, 100 when 0."""

        async def fetch(token: str) -> rpc.ListJobEventsResponse:
            request = rpc.ListJobEventsRequest(job_id=job_id, page_size=page_size, page_token=token)
            return await self._caller.call(self._jobs.ListJobEvents, request, timeout=timeout)

        return AsyncPages(fetch, lambda page: page.events, page_token)

    def watch(
        self,
        job_id: str,
        *,
        cursor: bytes = b"",
        mode: values.WatchModeLike = rpc.WatchMode.WATCH_MODE_LATEST,
        bookmarks: bool = False,
        timeout: float | None = None,
        patience: float = 300.0,
    ) -> AsyncWatch[rpc.WatchJobRequest, rpc.WatchJobResponse]:
        """Watch one job: its state now, or what followed `cursor`, and every change until it has ended.

        Iteration ends after the message with the terminal state, or with DELETED; without any message when that came at
        or before `cursor`. Mode EVERY never merges revisions.
        Bookmarks (a cursor alone) are left out unless asked for. `timeout` limits the whole watch, None not at all;
        `patience` is how long no server may be found once the watch has begun. Both are in seconds.
        """
        request = rpc.WatchJobRequest(job_id=job_id, cursor=cursor, mode=values.watch_mode(mode))
        return AsyncWatch(
            self._caller,
            self._jobs.WatchJob,
            request,
            one_job=True,
            bookmarks=bookmarks,
            timeout=timeout,
            patience=patience,
        )

    def watch_jobs(
        self,
        *,
        cursor: bytes = b"",
        mode: values.WatchModeLike = rpc.WatchMode.WATCH_MODE_LATEST,
        bookmarks: bool = False,
        timeout: float | None = None,
        patience: float = 300.0,
        relist: bool = True,
        on_relist: Callable[[Relist], object] | None = None,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> AsyncWatch[rpc.WatchJobsRequest, rpc.WatchJobsResponse]:
        """Watch every job that matches the filter: those that match now, or what followed `cursor`, and every change.

        It has no end of its own; see `watch` for the options.

        When the service no longer has the history after the cursor, the watch begins again from the jobs that match now
        and tells those that it has not told as they are. Then it calls `on_relist`: events are missing there, and jobs
        that the caller knew before this watch may have gone. Jobs of this watch that have gone are announced as LEFT
        with their owner and job_id alone. With `relist=False` it raises HistoryTrimmedError or CursorAheadError.
        """
        request = rpc.WatchJobsRequest(filter=requests.job_filter(filter), cursor=cursor, mode=values.watch_mode(mode))
        return AsyncWatch(
            self._caller,
            self._jobs.WatchJobs,
            request,
            one_job=False,
            bookmarks=bookmarks,
            timeout=timeout,
            patience=patience,
            relist=relist,
            on_relist=on_relist,
        )

    async def wait(self, job_id: str, *, timeout: float | None = None, patience: float = 300.0) -> Job:
        """Return the job once it is COMPLETED, FAILED or CANCELLED, without its input and chunks.

        `timeout` is in seconds, None for as long as it takes. Raises DeadlineExceededError (a TimeoutError) after it,
        and JobNotFoundError when there is no such job or it is deleted meanwhile.
        """
        last = Job(job_id=job_id)
        async with self.watch(job_id, timeout=timeout, patience=patience) as messages:
            async for message in messages:
                last = message.job
                if message.type == _DELETED:
                    raise JobNotFoundError(
                        f"job {job_id} was deleted before it ended",
                        code=grpc.StatusCode.NOT_FOUND,
                        reason="JOB_NOT_FOUND",
                        metadata={"job_id": job_id},
                    )
                if last.state in values.TERMINAL_STATES:
                    break
        last.ClearField("input")
        last.ClearField("chunks")
        return last

    async def cancel_job(
        self,
        job_id: str,
        *,
        reason: str = "",
        grace_period: values.DurationLike | None = None,
        force: bool = False,
        timeout: float | None = None,
    ) -> rpc.CancelJobResponse:
        """Stop a job; the response says in `outcome` what happened.

        Its workers have `grace_period` (0 s to 24 h, 30 s when None) to let go; `force` takes their leases at once.

        Raises InvalidFieldError, JobNotFoundError.
        """
        request = rpc.CancelJobRequest(
            job_id=job_id, reason=reason, grace_period=values.duration(grace_period), force=force
        )
        return await self._caller.call(self._jobs.CancelJob, request, timeout=timeout)

    async def retry_job(
        self,
        job_id: str,
        *,
        chunk_indexes: Iterable[int] = (),
        reason: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Run the failed and cancelled chunks again, or those named; return the job in view BASIC.

        Raises InvalidFieldError, JobNotFoundError, ChunkNotFoundError, RequestIdReusedError, JobNotEndedError,
        JobEndedError (it is COMPLETED), NothingToRetryError.
        """
        request = rpc.RetryJobRequest(
            job_id=job_id, chunk_indexes=chunk_indexes, request_id=request_id or str(uuid4()), reason=reason
        )
        return (await self._caller.call(self._jobs.RetryJob, request, timeout=timeout)).job

    async def update_job(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        expire_time: values.TimestampLike | None = None,
        keep_forever: bool = False,
        etag: str = "",
        timeout: float | None = None,
    ) -> Job:
        """Change what is given and leave what is None; return the job in view BASIC.

        `labels` replace all labels; an empty `display_name` removes it; `keep_forever` removes the expiry. With an
        `etag`, an attempt whose answer was lost is not repeated.

        Raises InvalidFieldError (also when nothing is given), JobNotFoundError, EtagMismatchError, JobEndedError.
        """
        request = requests.update_request(
            job_id,
            priority=priority,
            display_name=display_name,
            labels=labels,
            expire_time=expire_time,
            keep_forever=keep_forever,
            etag=etag,
        )
        return (await self._caller.call(self._jobs.UpdateJob, request, idempotent=not etag, timeout=timeout)).job

    async def delete_job(
        self,
        job_id: str,
        *,
        force: bool = False,
        reason: str = "",
        etag: str = "",
        delete_artifacts: bool = False,
        timeout: float | None = None,
    ) -> rpc.DeleteJobResponse:
        """Remove a job that has ended, or any with `force`; `reason` goes into its audit trail.

        With `delete_artifacts`, what its artifacts point at is deleted too, under the roots that the operator allowed:
        the response names the job that does it, `artifact_job`, and counts those that stay. The response is empty when
        an attempt whose answer was lost deleted the job.

        Raises InvalidFieldError, JobNotFoundError, EtagMismatchError, JobNotEndedError.
        """
        request = rpc.DeleteJobRequest(
            job_id=job_id, force=force, reason=reason, etag=etag, delete_artifacts=delete_artifacts
        )
        try:
            return await self._caller.call(self._jobs.DeleteJob, request, timeout=timeout)
        except JobNotFoundError as error:
            if error.attempts == 1:  # else an earlier attempt deleted it, and its answer was lost
                raise
            return rpc.DeleteJobResponse()
