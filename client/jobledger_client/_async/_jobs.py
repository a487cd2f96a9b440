"""The calls of JobService on jobs: create, read, watch and change."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

import grpc
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.chunk_pb2 import Attempt, Chunk
from jobledger.v1.event_pb2 import JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._pages import AsyncPages
from jobledger_client._async._watch import AsyncWatch
from jobledger_client._enums import (
    TERMINAL_STATES,
    ChangeType,
    ChunkState,
    FailurePolicy,
    JobOrder,
    JobState,
    JobView,
    OnConflict,
    WatchMessageType,
    WatchMode,
)
from jobledger_client._errors import JobNotFoundError
from jobledger_client._new_jobs import JobOutcome, NewJob, batches, create_request, outcomes
from jobledger_client._seen_jobs import Relist

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncJobCalls:
    """Jobs.

    A method returns the one message that the response carries, or the response when it carries more. `timeout`
    includes retries; None means the client's default. Beside the errors that a method names, each may raise
    UnavailableError, DeadlineExceededError, InternalError, and for a write QueueFullError.
    """

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._stub = JobServiceStub(channel)
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
        finalizer: requests.FinalizerLike | None = None,
        max_attempts: int | None = None,
        retry_policy: requests.RetryPolicyLike | None = None,
        failure_policy: FailurePolicy | None = None,
        stages: requests.StagesLike = (),
        expire_time: values.TimestampLike | timedelta | None = None,
        schedule_time: values.TimestampLike | timedelta | None = None,
        run_timeout: values.DurationLike | None = None,
        attempt_timeout: values.DurationLike | None = None,
        limited_labels: Iterable[str] = (),
        unique_key: str = "",
        on_conflict: OnConflict | None = None,
        request_id: str = "",
        validate_only: bool = False,
        timeout: timedelta | None = None,
    ) -> rpc.CreateJobResponse:
        """Create a job and its chunks; `created` of the response is True for a new job.

        Pass `item_count` (and `chunk_size`, 500 when None), or `chunks`, or neither for a job of one chunk. A mapping
        in `chunks` is the input of a chunk of one item. `finalizer` is one more chunk, the last, which no worker gets
        before all others are completed; a mapping is its input. `priority` is 0 to 10, 5 when None. `max_attempts` is
        short for `RetryPolicy(max_attempts=…)`. `stages` are names, or names with weights. `retry_policy` and `stages`
        may be those of another job. `run_timeout` is how long the job may take from its first claim on,
        `attempt_timeout` how long one attempt at a chunk may take, whatever its worker reports: 1 s to 366 days. No
        worker may claim a chunk before `schedule_time`; that and `expire_time` are times, or timedeltas from now.
        `limited_labels` are names of its labels under whose values it is limited, if there are limits for these
        (`client.limits`). Without a
        `request_id` the client makes one, so that a repeated attempt creates no second job. With `validate_only` the
        service checks everything and creates nothing: the response has the job as it would be. While another job of
        this kind with the same `unique_key` has not ended, that job is the response, with `created` False; with
        OnConflict.REFUSE it is an error.

        Inputs are what JSON can hold without loss. A ValueError names the path of a value that it cannot hold, such as
        NaN, an integer beyond ±2**53 (send a string), a date, a set or bytes, or more than 24 levels of nesting.

        Raises ValueError, InvalidFieldError, JobAlreadyExistsError, RequestIdReusedError, UniqueKeyTakenError.
        """
        new = NewJob(
            kind,
            job_id=job_id,
            display_name=display_name,
            priority=priority,
            input=input,
            labels=labels,
            item_count=item_count,
            chunk_size=chunk_size,
            chunks=chunks,
            finalizer=finalizer,
            max_attempts=max_attempts,
            retry_policy=retry_policy,
            failure_policy=failure_policy,
            stages=stages,
            expire_time=expire_time,
            schedule_time=schedule_time,
            run_timeout=run_timeout,
            attempt_timeout=attempt_timeout,
            limited_labels=limited_labels,
            unique_key=unique_key,
            on_conflict=on_conflict,
            request_id=request_id or str(uuid4()),
        )
        request = create_request(new, validate_only=validate_only)
        return await self._caller.call(self._stub.CreateJob, request, timeout=timeout)

    async def create_jobs(
        self, jobs: Iterable[NewJob], *, validate_only: bool = False, timeout: timedelta | None = None
    ) -> AsyncIterator[JobOutcome]:
        """Create many jobs, and yield the outcome of each, in the order of `jobs`.

        Jobs are read and sent as the outcomes are taken, in calls of up to 500 jobs, 10,000 chunks and 1 MiB;
        `timeout` is for each call. A job that is refused has an `error` and does not stop the others. With
        `validate_only` the service checks everything and creates nothing. A ValueError names a value that JSON cannot
        hold; jobs of the same call are then not sent.

        Raises ValueError, QuotaExceededError.
        """
        for batch, request in batches(jobs, validate_only=validate_only):
            response = await self._caller.call(self._stub.BatchCreateJobs, request, timeout=timeout)
            for outcome in outcomes(batch, response):
                yield outcome

    async def get_job(
        self,
        job_id: str,
        *,
        view: JobView = JobView.FULL,
        timeout: timedelta | None = None,
    ) -> Job:
        """Return the job with its input and first 1,000 chunks; DETAIL has the input, BASIC neither, STATUS even less.

        Of large chunks there may be fewer: `list_chunks` continues from the job's `next_chunks_page_token`.

        Raises InvalidFieldError, JobNotFoundError.
        """
        request = rpc.GetJobRequest(job_id=job_id, view=values.number(view))
        return (await self._caller.call(self._stub.GetJob, request, timeout=timeout)).job

    async def batch_get_jobs(
        self,
        job_ids: Iterable[str],
        *,
        view: JobView = JobView.FULL,
        timeout: timedelta | None = None,
    ) -> rpc.BatchGetJobsResponse:
        """Return 1 to 500 jobs, and the ids that were not found. Raises InvalidFieldError.

        The jobs are of one moment, unless they exceed 3 MiB together, which takes several calls. View STATUS suits
        repeated reads of hundreds: it has state, percent, stage, eta, result_uri, the error's code and little else.
        """
        request = rpc.BatchGetJobsRequest(job_ids=job_ids, view=values.number(view))
        response = await self._caller.call(self._stub.BatchGetJobs, request, timeout=timeout)
        while response.unread_job_ids:
            rest = rpc.BatchGetJobsRequest(job_ids=response.unread_job_ids, view=request.view)
            response.ClearField("unread_job_ids")
            response.MergeFrom(await self._caller.call(self._stub.BatchGetJobs, rest, timeout=timeout))
        return response

    def list_jobs(
        self,
        *,
        order: JobOrder = JobOrder.CREATE_TIME,
        ascending: bool = False,
        page_size: int = 0,
        page_token: str = "",
        view: JobView = JobView.BASIC,
        timeout: timedelta | None = None,
        **filter: Unpack[requests.ReadFilterFields],  # noqa: A002 - the contract's name for it
    ) -> AsyncPages[rpc.ListJobsResponse, Job]:
        """List the jobs that match the filter, newest (or highest) first unless `ascending`.

        `page_size` is 1 to 500, 20 when 0. A page may have fewer jobs, even none; iterating then reads the next one.
        watch_jobs continues without a gap from a page's `cursor`.
        """
        request = rpc.ListJobsRequest(
            filter=requests.job_filter(filter),
            order=values.number(order),
            ascending=ascending,
            page_size=page_size,
            page_token=page_token,
            view=values.number(view),
        )
        return AsyncPages(self._caller, self._stub.ListJobs, request, lambda page: page.jobs, timeout)

    def list_chunks(
        self,
        job_id: str,
        *,
        states: Iterable[ChunkState] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> AsyncPages[rpc.ListChunksResponse, Chunk]:
        """List a job's chunks by index; empty `states` mean all. `page_size` is 1 to 1,000, 100 when 0."""
        request = rpc.ListChunksRequest(
            job_id=job_id,
            states=values.numbers(states),
            page_size=page_size,
            page_token=page_token,
        )
        return AsyncPages(self._caller, self._stub.ListChunks, request, lambda page: page.chunks, timeout)

    def list_attempts(
        self,
        job_id: str,
        *,
        chunk_index: int | None = None,
        task_id: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> AsyncPages[rpc.ListAttemptsResponse, Attempt]:
        """List the attempts at a job's chunks, or at one, or those of an engine's task: by chunk, then oldest first.

        `AttemptOutcome(attempt.outcome)` says how one ended. `page_size` is 1 to 1,000, 100 when 0.
        """
        request = rpc.ListAttemptsRequest(
            job_id=job_id, chunk_index=chunk_index, task_id=task_id, page_size=page_size, page_token=page_token
        )
        return AsyncPages(self._caller, self._stub.ListAttempts, request, lambda page: page.attempts, timeout)

    def list_job_events(
        self,
        job_id: str,
        *,
        uid: str = "",
        newest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> AsyncPages[rpc.ListJobEventsResponse, JobEvent]:
        """List a job's history, also of a deleted job. `page_size` is 1 to 500, 100 when 0.

        `uid` names one of several jobs that had this job_id; empty: the present one, or else the last.
        """
        request = rpc.ListJobEventsRequest(
            job_id=job_id, uid=uid, page_size=page_size, page_token=page_token, newest_first=newest_first
        )
        return AsyncPages(self._caller, self._stub.ListJobEvents, request, lambda page: page.events, timeout)

    def list_events(
        self,
        *,
        actors: Iterable[str] = (),
        change_types: Iterable[ChangeType] = (),
        commit_time: values.TimeRangeLike | None = None,
        kinds: Iterable[str] = (),
        owner: str = "",
        all_owners: bool = False,
        oldest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> AsyncPages[rpc.ListEventsResponse, JobEvent]:
        """List the history of all jobs, newest first: who did what to which job.

        An actor is a worker, NAME/KEY_ID of a key, or NAME/ for all keys of that name. With `change_types` one change
        by an actor must be of these. `owner` and `all_owners` need an admin's key. `page_size` is 1 to 500, 100 when 0.
        """
        wanted = rpc.EventFilter(
            actors=requests.names("actors", actors),
            change_types=values.numbers(change_types),
            commit_time=values.time_range(commit_time),
            kinds=requests.names("kinds", kinds),
            owner=owner,
            all_owners=all_owners,
        )
        request = rpc.ListEventsRequest(
            filter=wanted, page_size=page_size, page_token=page_token, oldest_first=oldest_first
        )
        return AsyncPages(self._caller, self._stub.ListEvents, request, lambda page: page.events, timeout)

    def watch(
        self,
        job_id: str,
        *,
        cursor: bytes = b"",
        mode: WatchMode = WatchMode.LATEST,
        view: JobView | None = None,
        change_types: Iterable[ChangeType] = (),
        state_changes_only: bool = False,
        bookmarks: bool = False,
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
    ) -> AsyncWatch[rpc.WatchJobRequest, rpc.WatchJobResponse]:
        """Watch one job: its state now, or what followed `cursor`, and every change until it has ended.

        In view STATUS messages are small, and have no chunks; no other view is accepted. `change_types` and
        `state_changes_only` pass over other changes, but for the first message, DELETED and the end.

        Iteration ends after the message with the terminal state, or with DELETED; it yields nothing when that message
        was at or before `cursor`. Mode EVERY never merges revisions. `bookmarks` adds messages with a cursor alone.
        `timeout` limits the whole watch, `reconnect_timeout` how long it looks for a server once it has begun; None
        means no limit.
        """
        request = rpc.WatchJobRequest(
            job_id=job_id,
            cursor=cursor,
            mode=values.number(mode),
            view=values.number(view),
            change_types=values.numbers(change_types),
            state_changes_only=state_changes_only,
        )
        return AsyncWatch(
            self._caller,
            self._stub.WatchJob,
            request,
            one_job=True,
            bookmarks=bookmarks,
            timeout=timeout,
            reconnect_timeout=reconnect_timeout,
        )

    def watch_jobs(
        self,
        *,
        cursor: bytes = b"",
        mode: WatchMode = WatchMode.LATEST,
        view: JobView | None = None,
        change_types: Iterable[ChangeType] = (),
        state_changes_only: bool = False,
        from_now: bool = False,
        bookmarks: bool = False,
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
        relist: bool = True,
        on_relist: Callable[[Relist], object] | None = None,
        **filter: Unpack[requests.ReadFilterFields],  # noqa: A002 - the contract's name for it
    ) -> AsyncWatch[rpc.WatchJobsRequest, rpc.WatchJobsResponse]:
        """Watch every job that matches the filter: those that match now, or what followed `cursor`, and every change.

        It has no end of its own; see `watch` for the options. `from_now` leaves out the jobs that match now.

        When the service no longer has the history after the cursor, the watch restarts from the jobs that match now: it
        returns those that are new or changed as SNAPSHOT, calls `on_relist`, and returns LEFT, with owner and job_id
        alone, for jobs of this watch that are gone. The events in between are missing, and jobs that the caller knew
        before this watch may be gone. With `relist=False` it raises HistoryTrimmedError or CursorAheadError instead.
        """
        request = rpc.WatchJobsRequest(
            filter=requests.job_filter(filter),
            cursor=cursor,
            mode=values.number(mode),
            view=values.number(view),
            change_types=values.numbers(change_types),
            state_changes_only=state_changes_only,
            from_now=from_now,
        )
        return AsyncWatch(
            self._caller,
            self._stub.WatchJobs,
            request,
            one_job=False,
            bookmarks=bookmarks,
            timeout=timeout,
            reconnect_timeout=reconnect_timeout,
            relist=relist,
            on_relist=on_relist,
        )

    async def wait(
        self,
        job_id: str,
        *,
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
    ) -> Job:
        """Return the job once it is COMPLETED, FAILED or CANCELLED, without its input and chunks, with its output.

        `timeout` None means no limit. Raises DeadlineExceededError (a TimeoutError) after it, and JobNotFoundError for
        a job that does not exist or is deleted meanwhile.
        """
        last = Job(job_id=job_id)
        async with self.watch(
            job_id, state_changes_only=True, timeout=timeout, reconnect_timeout=reconnect_timeout
        ) as messages:
            async for message in messages:
                last = message.job
                if message.type == WatchMessageType.DELETED:
                    raise JobNotFoundError(
                        f"job {job_id} was deleted before it ended",
                        code=grpc.StatusCode.NOT_FOUND,
                        reason="JOB_NOT_FOUND",
                        metadata={"job_id": job_id},
                    )
                if last.state in TERMINAL_STATES:
                    break
        last.ClearField("input")
        last.ClearField("chunks")
        if last.state == JobState.COMPLETED:
            with suppress(JobNotFoundError):  # it was deleted after its end
                job = await self.get_job(job_id, view=JobView.BASIC)
                if job.uid == last.uid and job.HasField("output"):
                    last.output.CopyFrom(job.output)
        return last

    async def cancel_job(
        self,
        job_id: str,
        *,
        reason: str = "",
        grace_period: values.DurationLike | None = None,
        force: bool = False,
        etag: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.CancelJobResponse:
        """Stop a job; the response has the `outcome`.

        Its workers have `grace_period` (0 s to 24 h, 30 s when None) to release their chunks; `force` ends their leases
        at once. With an `etag`, an attempt whose response was lost is not repeated.

        Raises InvalidFieldError, JobNotFoundError, EtagMismatchError.
        """
        request = rpc.CancelJobRequest(
            job_id=job_id, reason=reason, grace_period=values.duration(grace_period), force=force, etag=etag
        )
        return await self._caller.call(self._stub.CancelJob, request, idempotent=not etag, timeout=timeout)

    async def retry_job(
        self,
        job_id: str,
        *,
        chunk_indexes: Iterable[int] = (),
        reason: str = "",
        request_id: str = "",
        etag: str = "",
        timeout: timedelta | None = None,
    ) -> Job:
        """Run the failed and cancelled chunks again, or those in `chunk_indexes`; return the job in view BASIC.

        While the job has not ended, `chunk_indexes` must name FAILED chunks: they go again within its run.

        Raises InvalidFieldError, JobNotFoundError, ChunkNotFoundError, RequestIdReusedError, EtagMismatchError,
        UniqueKeyTakenError, JobNotEndedError, JobEndedError (it is COMPLETED), NothingToRetryError.
        """
        request = rpc.RetryJobRequest(
            job_id=job_id, chunk_indexes=chunk_indexes, request_id=request_id or str(uuid4()), reason=reason, etag=etag
        )
        return (await self._caller.call(self._stub.RetryJob, request, timeout=timeout)).job

    async def update_job(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        expire_time: values.TimestampLike | timedelta | None = None,
        keep_forever: bool = False,
        schedule_time: values.TimestampLike | timedelta | None = None,
        start_now: bool = False,
        etag: str = "",
        timeout: timedelta | None = None,
    ) -> Job:
        """Change the fields that are not None; return the job in view BASIC.

        `labels` replace all labels; an empty `display_name` removes it; `keep_forever` removes the expiry. A
        `schedule_time`, a time or a timedelta from now, can change until a chunk is claimed; `start_now` removes it.
        With an `etag`, an attempt whose response was lost is not repeated.

        Raises InvalidFieldError (also when all fields are None), JobNotFoundError, EtagMismatchError, JobEndedError,
        JobStartedError.
        """
        if keep_forever and expire_time is not None:
            raise ValueError("expire_time and keep_forever exclude each other; pass one of them")
        if start_now and schedule_time is not None:
            raise ValueError("schedule_time and start_now exclude each other; pass one of them")
        changes = requests.changes(
            priority=priority,
            display_name=display_name,
            labels=labels,
            expire_time=values.future_time(expire_time),
            schedule_time=values.future_time(schedule_time),
        )
        request = rpc.UpdateJobRequest(job_id=job_id, etag=etag, **changes)
        if keep_forever:
            request.update_mask.paths.append("expire_time")  # without a value: none from now on
        if start_now:
            request.update_mask.paths.append("schedule_time")
        return (await self._caller.call(self._stub.UpdateJob, request, idempotent=not etag, timeout=timeout)).job

    async def delete_job(
        self,
        job_id: str,
        *,
        force: bool = False,
        reason: str = "",
        etag: str = "",
        delete_artifacts: bool = False,
        timeout: timedelta | None = None,
    ) -> rpc.DeleteJobResponse:
        """Delete a job that has ended, or any job with `force`; the audit trail records `reason`.

        `delete_artifacts` also deletes the objects that its artifacts name, under the roots that the operator allows:
        the response names the job that does this, `artifact_job`, and counts those outside. The response is empty when
        an attempt whose response was lost deleted the job.

        Raises InvalidFieldError, JobNotFoundError, EtagMismatchError, JobNotEndedError.
        """
        request = rpc.DeleteJobRequest(
            job_id=job_id, force=force, reason=reason, etag=etag, delete_artifacts=delete_artifacts
        )
        try:
            return await self._caller.call(self._stub.DeleteJob, request, timeout=timeout)
        except JobNotFoundError as error:
            if error.attempts == 1:  # else an earlier attempt deleted it, and its response was lost
                raise
            return rpc.DeleteJobResponse()
