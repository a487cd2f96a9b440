# Generated from _async/_jobs.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls of JobService on jobs: all, with those that create, get, wait for and change one."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import grpc
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.job_pb2 import Job

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._generated._enums import FailurePolicy, JobState, JobView, OnConflict, WatchMessageType
from jobledger_client._generated._errors import JobNotFoundError
from jobledger_client._job_changes import JobChanges
from jobledger_client._new_jobs import JobOutcome, NewJob, batches, create_request, outcomes
from jobledger_client._sync._job_lists import JobLists
from jobledger_client._sync._job_watches import JobWatches
from jobledger_client._terminal_states import TERMINAL_STATES


class JobCalls(JobLists, JobWatches):
    """Jobs.

    A method returns the one message that the response carries, or the response when it carries more. `timeout`
    includes retries; None means the client's default. `owner` is whose job it is, by default the key's own; only an
    admin's key may name another, else it is RoleMissingError. Beside the errors that a method names, each may raise
    UnavailableError, DeadlineExceededError, InternalError, and for a write QueueFullError.
    """

    def create_job(
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
        unique_window: values.DurationLike | None = None,
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
        OnConflict.REFUSE it is an error. With a `unique_window` the job has its key for so long after its creation,
        even after it has ended: timedelta(days=1) creates at most one job a day for each key.

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
            unique_window=unique_window,
            on_conflict=on_conflict,
            request_id=request_id or str(uuid4()),
        )
        request = create_request(new, validate_only=validate_only)
        return self._caller.call(self._stub.CreateJob, request, timeout=timeout)

    def create_jobs(
        self, jobs: Iterable[NewJob], *, validate_only: bool = False, timeout: timedelta | None = None
    ) -> Iterator[JobOutcome]:
        """Create many jobs, and yield the outcome of each, in the order of `jobs`.

        Jobs are read and sent as the outcomes are taken, in calls of up to 500 jobs, 10,000 chunks and 1 MiB;
        `timeout` is for each call. A job that is refused has an `error` and does not stop the others. With
        `validate_only` the service checks everything and creates nothing. A ValueError names a value that JSON cannot
        hold; jobs of the same call are then not sent.

        Raises ValueError, QuotaExceededError.
        """
        for batch, request in batches(jobs, validate_only=validate_only):
            response = self._caller.call(self._stub.BatchCreateJobs, request, timeout=timeout)
            for outcome in outcomes(batch, response):
                yield outcome

    def get_job(
        self,
        job_id: str,
        *,
        view: JobView = JobView.BASIC,
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> Job:
        """Return the job; DETAIL adds its input, FULL also its first 1,000 chunks and last attempts; STATUS has less.

        Of large chunks there may be fewer: `list_chunks` continues from the job's `next_chunks_page_token`. With a
        `uid`, another job with this job_id is not found.

        Raises InvalidFieldError, JobNotFoundError.
        """
        request = rpc.GetJobRequest(job_id=job_id, view=values.number(view), uid=uid, owner=owner)
        return (self._caller.call(self._stub.GetJob, request, timeout=timeout)).job

    def batch_get_jobs(
        self,
        job_ids: Iterable[str],
        *,
        view: JobView = JobView.BASIC,
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.BatchGetJobsResponse:
        """Return 1 to 500 jobs, and the ids that were not found. Raises InvalidFieldError.

        The jobs are of one moment, unless they exceed 3 MiB together, which takes several calls. View STATUS suits
        repeated reads of hundreds: it has state, percent, stage, eta, result_uri, the error's code and little else.
        """
        request = rpc.BatchGetJobsRequest(job_ids=job_ids, view=values.number(view), owner=owner)
        response = self._caller.call(self._stub.BatchGetJobs, request, timeout=timeout)
        while response.unread_job_ids:
            rest = rpc.BatchGetJobsRequest(job_ids=response.unread_job_ids, view=request.view, owner=owner)
            response.ClearField("unread_job_ids")
            response.MergeFrom(self._caller.call(self._stub.BatchGetJobs, rest, timeout=timeout))
        return response

    def wait(
        self,
        job_id: str,
        *,
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
    ) -> Job:
        """Return the job once it is COMPLETED, FAILED or CANCELLED, without its input and chunks, with its output.

        `timeout` None means no limit. Raises DeadlineExceededError (a TimeoutError) after it, and JobNotFoundError for
        a job that does not exist or is deleted meanwhile. With a `uid`, another job with this job_id is not found.
        """
        last = Job(job_id=job_id)
        with self.watch(
            job_id, state_changes_only=True, uid=uid, owner=owner, timeout=timeout, reconnect_timeout=reconnect_timeout
        ) as messages:
            for message in messages:
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
                job = self.get_job(job_id, view=JobView.BASIC, uid=last.uid, owner=owner)
                if job.HasField("output"):
                    last.output.CopyFrom(job.output)
        return last

    def cancel_job(
        self,
        job_id: str,
        *,
        reason: str = "",
        grace_period: values.DurationLike | None = None,
        force: bool = False,
        etag: str = "",
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.CancelJobResponse:
        """Stop a job; the response has the `outcome`.

        Its workers have `grace_period` (0 s to 24 h, 30 s when None) to release their chunks; `force` ends their leases
        at once. With an `etag`, an attempt whose response was lost is not repeated. With a `uid`, another job with this
        job_id is not found.

        Raises InvalidFieldError, JobNotFoundError, EtagMismatchError.
        """
        request = rpc.CancelJobRequest(
            job_id=job_id,
            reason=reason,
            grace_period=values.duration(grace_period),
            force=force,
            etag=etag,
            uid=uid,
            owner=owner,
        )
        return self._caller.call(self._stub.CancelJob, request, idempotent=not etag, timeout=timeout)

    def retry_job(
        self,
        job_id: str,
        *,
        chunk_indexes: Iterable[int] = (),
        reason: str = "",
        request_id: str = "",
        etag: str = "",
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> Job:
        """Run the failed and cancelled chunks again, or those in `chunk_indexes`; return the job in view BASIC.

        While the job has not ended, `chunk_indexes` must name FAILED chunks: they are retried within its run. With a
        `uid`, another job with this job_id is not found.

        Raises InvalidFieldError, JobNotFoundError, ChunkNotFoundError, RequestIdReusedError, EtagMismatchError,
        UniqueKeyTakenError, JobNotEndedError, JobEndedError (it is COMPLETED), NothingToRetryError.
        """
        request = rpc.RetryJobRequest(
            job_id=job_id,
            chunk_indexes=chunk_indexes,
            request_id=request_id or str(uuid4()),
            reason=reason,
            etag=etag,
            uid=uid,
            owner=owner,
        )
        return (self._caller.call(self._stub.RetryJob, request, timeout=timeout)).job

    def update_job(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        set_labels: Mapping[str, str] | None = None,
        remove_labels: Iterable[str] = (),
        expire_time: values.TimestampLike | timedelta | None = None,
        keep_forever: bool = False,
        schedule_time: values.TimestampLike | timedelta | None = None,
        start_now: bool = False,
        max_attempts: int | None = None,
        retry_policy: requests.RetryPolicyLike | None = None,
        run_timeout: values.DurationLike | None = None,
        no_run_timeout: bool = False,
        attempt_timeout: values.DurationLike | None = None,
        no_attempt_timeout: bool = False,
        reason: str = "",
        etag: str = "",
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> Job:
        """Change what is not None, as JobChanges says; return the job in view BASIC.

        With an `etag`, an attempt whose response was lost is not repeated. With a `uid`, another job with this job_id
        is not found.

        Raises InvalidFieldError (also when all fields are None), JobNotFoundError, EtagMismatchError, JobEndedError,
        JobStartedError.
        """
        changes = JobChanges(
            priority=priority,
            display_name=display_name,
            labels=labels,
            set_labels=set_labels,
            remove_labels=remove_labels,
            expire_time=expire_time,
            keep_forever=keep_forever,
            schedule_time=schedule_time,
            start_now=start_now,
            max_attempts=max_attempts,
            retry_policy=retry_policy,
            run_timeout=run_timeout,
            no_run_timeout=no_run_timeout,
            attempt_timeout=attempt_timeout,
            no_attempt_timeout=no_attempt_timeout,
        )
        request = rpc.UpdateJobRequest(
            job_id=job_id, reason=reason, etag=etag, uid=uid, owner=owner, **changes.fields()
        )
        return (self._caller.call(self._stub.UpdateJob, request, idempotent=not etag, timeout=timeout)).job

    def delete_job(
        self,
        job_id: str,
        *,
        force: bool = False,
        reason: str = "",
        etag: str = "",
        uid: str = "",
        delete_artifacts: bool = False,
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.DeleteJobResponse:
        """Delete a job that has ended, or any job with `force`; the audit trail records `reason`.

        `delete_artifacts` also deletes the objects that its artifacts name, under the roots that the operator allows:
        the response names the job that does this, `artifact_job`, whose report counts those that are kept. The response
        is empty when an attempt whose response was lost deleted the job. With a `uid`, another job with this job_id is
        not found, and a repeated attempt never deletes it.

        Raises InvalidFieldError, JobNotFoundError, EtagMismatchError, JobNotEndedError.
        """
        request = rpc.DeleteJobRequest(
            job_id=job_id,
            force=force,
            reason=reason,
            etag=etag,
            uid=uid,
            delete_artifacts=delete_artifacts,
            owner=owner,
        )
        try:
            return self._caller.call(self._stub.DeleteJob, request, timeout=timeout)
        except JobNotFoundError as error:
            if error.attempts == 1:  # else an earlier attempt deleted it, and its response was lost
                raise
            return rpc.DeleteJobResponse()
