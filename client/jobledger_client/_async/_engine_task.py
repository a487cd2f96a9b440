"""A chunk that an outside engine works on, reported from outside, call by call."""

from collections.abc import Mapping
from datetime import timedelta

from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimedChunk,
    LeaseReport,
    LeaseStatus,
    ProgressReport,
)

from jobledger_client import _values as values
from jobledger_client._async._client import AsyncJobClient
from jobledger_client._errors import ChunkNotClaimableError, NotFoundError


class AsyncEngineTask:
    """An engine's task (a DAG run, a pod, a workflow) that works on one chunk.

    It needs nothing but the three names, so any process may report: each task of a DAG, a callback, a webhook. The
    first call leases the chunk, or joins the lease that the same `task_id` holds. Each answers with how the lease
    fared: OK, CANCEL_REQUESTED (stop the work, then `release`) or LEASE_LOST (stop, and report nothing more).

    `lease_duration`, 1 s to 24 h, is the longest silence between two calls: after it the attempt has failed, and the
    chunk goes again. A task that reports later than that takes the chunk again, as the next attempt, if nobody has.
    """

    def __init__(
        self,
        client: AsyncJobClient,
        job_id: str,
        chunk_index: int = 0,
        *,
        task_id: str,
        worker: str,
        lease_duration: timedelta = timedelta(minutes=10),
    ) -> None:
        if not task_id:
            raise ValueError("task_id: an engine's task needs one; without it no other call could join its lease")
        self.job_id = job_id
        self.chunk_index = chunk_index
        self.task_id = task_id
        self._client = client
        self._worker = worker
        self._lease_duration = lease_duration
        self._token = ""

    async def begin(self) -> ClaimedChunk:
        """Lease the chunk, or join the lease in force; return it with its input and the job's.

        Raises ChunkNotClaimableError when it is not to be had: somebody else works on it, or it has ended.
        """
        claimed = await self._client.claim_chunk(
            self.job_id,
            self.chunk_index,
            worker=self._worker,
            task_id=self.task_id,
            lease_duration=self._lease_duration,
        )
        self._token = claimed.lease.token
        return claimed

    async def progress(
        self,
        *,
        percent: float | None = None,
        stage: str | None = None,
        stage_percent: float | None = None,
        message: str | None = None,
        items_completed: int | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
        job_artifacts: Mapping[str, Artifact] | None = None,
    ) -> LeaseStatus.ValueType:
        """Report how far the task has come, and extend the lease; what is None stays as it is.

        Without arguments it is a sign of life. Raises InvalidFieldError.
        """
        if not await self._joined():
            return LeaseStatus.LEASE_STATUS_LEASE_LOST
        progress = ProgressReport(
            percent=percent,
            stage=stage,
            stage_percent=stage_percent,
            message=message,
            items_completed=items_completed,
            artifacts=artifacts,
            job_artifacts=job_artifacts,
        )
        report = LeaseReport(lease_token=self._token, progress=progress)
        return (await self._client.heartbeat([report], lease_duration=self._lease_duration))[0].status

    async def complete(
        self,
        *,
        result_uri: str = "",
        message: str | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
        job_artifacts: Mapping[str, Artifact] | None = None,
    ) -> LeaseStatus.ValueType:
        """End the task with success, and with a last report. Raises InvalidFieldError."""
        if not await self._joined():
            return LeaseStatus.LEASE_STATUS_LEASE_LOST
        completion = ChunkCompletion(
            lease_token=self._token,
            progress=ProgressReport(message=message, artifacts=artifacts, job_artifacts=job_artifacts),
            result_uri=result_uri,
        )
        return (await self._client.complete_chunks([completion]))[0].status

    async def fail(
        self,
        code: str,
        message: str = "",
        *,
        stage: str = "",
        retryable: bool = True,
        retry_delay: timedelta | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
    ) -> LeaseStatus.ValueType:
        """End the task with a failed attempt; the chunk goes again if it is `retryable` and attempts are left.

        `code` is 1 to 128 characters, for programs; `message` up to 4,096, for people. `retry_delay`, up to 7 days, is
        waited in place of what the job's retry policy says. Raises InvalidFieldError.
        """
        if not await self._joined():
            return LeaseStatus.LEASE_STATUS_LEASE_LOST
        failure = ChunkFailure(
            lease_token=self._token,
            error=WorkError(code=code, message=message, stage=stage),
            not_retryable=not retryable,
            progress=ProgressReport(artifacts=artifacts),
            retry_delay=values.duration(retry_delay),
        )
        return (await self._client.fail_chunks([failure]))[0].status

    async def release(self, reason: str = "", *, delay: timedelta | None = None) -> LeaseStatus.ValueType:
        """Give the chunk back with the attempt not counted; of a job that is to stop, the chunk is then CANCELLED.

        `delay`, up to 7 days, is how long it waits before it may be claimed again.
        """
        if not await self._joined():
            return LeaseStatus.LEASE_STATUS_LEASE_LOST
        release = ChunkRelease(lease_token=self._token, delay=values.duration(delay), reason=reason)
        return (await self._client.release_chunks([release]))[0].status

    async def _joined(self) -> bool:
        if self._token:
            return True
        try:
            await self.begin()
        except (ChunkNotClaimableError, NotFoundError):
            return False
        return True
