# Generated from _async/_engine_task.py by client/generate_sync.py: edit that module, then run `make gen`.
"""A chunk that an external engine works on, reported call by call."""

from collections.abc import Mapping
from datetime import timedelta

from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimedChunk,
    HeartbeatResult,
    LeaseReport,
    LeaseResult,
    ProgressReport,
)

from jobledger_client import _values as values
from jobledger_client._error_groups import NotFoundError
from jobledger_client._generated._enums import LeaseStatus
from jobledger_client._generated._errors import ChunkNotClaimableError
from jobledger_client._status import error_of_entry
from jobledger_client._structs import struct
from jobledger_client._sync._client import JobClient
from jobledger_client._values import StructLike
from jobledger_client._worker._stops import stop_message


class EngineTask:
    """An engine's task (a DAG run, a pod, a workflow) that works on one chunk.

    Job, chunk and task id are all that it needs, so any process may report: each task of a DAG, a callback, a webhook.
    The first call leases the chunk, or joins the lease that the same `task_id` holds. Each call returns the status of
    the lease: OK, CANCEL_REQUESTED (stop the work, then `release`) or LEASE_LOST (stop, and report nothing more);
    `stop_message` then says why, with the reason of a cancellation.

    `lease_duration`, 1 s to 24 h, is the maximum time between two calls: after it the attempt has failed, and the chunk
    is tried again. A task that reports later claims the chunk as the next attempt, unless another one has. `owner` is
    whose job it is, one that the key serves.
    """

    def __init__(
        self,
        client: JobClient,
        job_id: str,
        chunk_index: int = 0,
        *,
        task_id: str,
        worker: str,
        owner: str = "",
        lease_duration: timedelta = timedelta(minutes=10),
    ) -> None:
        if not task_id:
            raise ValueError("task_id must not be empty; other calls join the lease by it")
        self.job_id = job_id
        self.chunk_index = chunk_index
        self.task_id = task_id
        self._client = client
        self._worker = worker
        self._owner = owner
        self._lease_duration = lease_duration
        self._token = ""
        self.stop_message = ""

    def begin(self) -> ClaimedChunk:
        """Lease the chunk, or join the lease in force; return the chunk with its input and the job's.

        Raises ChunkNotClaimableError when another task works on it, or it has ended.
        """
        claimed = self._client.leases.claim_chunk(
            self.job_id,
            self.chunk_index,
            worker=self._worker,
            task_id=self.task_id,
            owner=self._owner,
            lease_duration=self._lease_duration,
        )
        self._token = claimed.lease.token
        return claimed

    def progress(
        self,
        *,
        percent: float | None = None,
        stage: str | None = None,
        stage_percent: float | None = None,
        message: str | None = None,
        items_completed: int | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
        job_artifacts: Mapping[str, Artifact] | None = None,
        checkpoint: StructLike | None = None,
    ) -> LeaseStatus:
        """Report progress and extend the lease; None leaves a value unchanged.

        The next attempt gets `checkpoint` with its claim, until the chunk is completed. Without arguments it only
        extends the lease. Raises InvalidFieldError, and ValueError for values that JSON cannot hold without loss.
        """
        kept = struct(checkpoint, "checkpoint")
        if not self._join():
            return LeaseStatus.LEASE_LOST
        progress = ProgressReport(
            percent=percent,
            stage=stage,
            stage_percent=stage_percent,
            message=message,
            items_completed=items_completed,
            artifacts=artifacts,
            job_artifacts=job_artifacts,
            checkpoint=kept,
        )
        report = LeaseReport(lease_token=self._token, progress=progress)
        return self._status((self._client.leases.heartbeat([report], lease_duration=self._lease_duration))[0])

    def complete(
        self,
        *,
        result_uri: str = "",
        output: StructLike | None = None,
        job_output: StructLike | None = None,
        message: str | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
        job_artifacts: Mapping[str, Artifact] | None = None,
    ) -> LeaseStatus:
        """Complete the chunk, with a last report and its results.

        `output` and `job_output`, dicts with JSON values of at most 64 KiB encoded, are the results of the chunk and of
        the job themselves. Raises InvalidFieldError, and ValueError for values that JSON cannot hold without loss.
        """
        outputs = {"output": struct(output, "output"), "job_output": struct(job_output, "job_output")}
        if not self._join():
            return LeaseStatus.LEASE_LOST
        completion = ChunkCompletion(
            lease_token=self._token,
            progress=ProgressReport(message=message, artifacts=artifacts, job_artifacts=job_artifacts),
            result_uri=result_uri,
            **outputs,
        )
        return self._status((self._client.leases.complete_chunks([completion]))[0])

    def fail(
        self,
        code: str,
        message: str = "",
        *,
        stage: str = "",
        retryable: bool = True,
        retry_delay: timedelta | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
    ) -> LeaseStatus:
        """Fail the attempt; the chunk is tried again if it is `retryable` and attempts are left.

        `code` is 1 to 128 characters, for programs; `message` up to 4,096, for people. `retry_delay`, up to 7 days,
        replaces the delay of the job's retry policy. Raises InvalidFieldError.
        """
        if not self._join():
            return LeaseStatus.LEASE_LOST
        failure = ChunkFailure(
            lease_token=self._token,
            error=WorkError(code=code, message=message, stage=stage),
            not_retryable=not retryable,
            progress=ProgressReport(artifacts=artifacts),
            retry_delay=values.duration(retry_delay),
        )
        return self._status((self._client.leases.fail_chunks([failure]))[0])

    def release(self, reason: str = "", *, delay: timedelta | None = None) -> LeaseStatus:
        """Release the chunk without counting the attempt; a chunk of a job that is to stop is then CANCELLED.

        `delay`, up to 7 days, is the time until it may be claimed again.
        """
        if not self._join():
            return LeaseStatus.LEASE_LOST
        release = ChunkRelease(lease_token=self._token, delay=values.duration(delay), reason=reason)
        return self._status((self._client.leases.release_chunks([release]))[0])

    def _join(self) -> bool:
        if self._token:
            return True
        try:
            self.begin()
        except (ChunkNotClaimableError, NotFoundError):
            return False
        return True

    def _status(self, result: HeartbeatResult | LeaseResult) -> LeaseStatus:
        """Return the status of the lease; raises the error of a refused report."""
        if result.status == LeaseStatus.REFUSED:
            raise error_of_entry(result.error)
        self.stop_message = stop_message(result.stop) if result.HasField("stop") else ""
        return LeaseStatus(result.status)
