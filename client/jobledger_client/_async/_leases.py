"""The calls of WorkerService, for those who do the work."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
from jobledger.v1 import worker_service_pb2 as rpc
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._async._backend import read
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._status import error_from_call

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncLeaseCalls:
    """What workers, and the engines that run them, ask of the service. Worker does all of this by itself.

    Results come one for each lease, in order. All but the claims are safe to repeat. Each may raise
    InvalidFieldError, and then nothing of the call was taken.
    """

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._leases = WorkerServiceStub(channel)
        self._caller = caller

    async def claim_chunks(
        self,
        kinds: Iterable[str],
        *,
        worker: str,
        max_chunks: int = 1,
        lease_duration: values.DurationLike | None = None,
        wait: timedelta = timedelta(0),
        timeout: float | None = None,
    ) -> Sequence[rpc.ClaimedChunk]:
        """Lease up to `max_chunks` (1 to 1,000) chunks, the most urgent first; answer with none after `wait` (≤ 5 min).

        `lease_duration` is 1 s to 24 h, 60 s when None. `timeout` is in seconds and comes on top of `wait`. An
        attempt whose answer was lost is not repeated: what it leased comes back when the leases expire.
        """
        request = rpc.ClaimChunksRequest(
            kinds=kinds,
            max_chunks=max_chunks,
            worker=worker,
            lease_duration=values.duration(lease_duration),
            wait=values.duration(wait),
        )
        slack = self._caller.timeout if timeout is None else timeout
        patience = wait.total_seconds() + slack
        return (await self._caller.call(self._leases.ClaimChunks, request, idempotent=False, timeout=patience)).chunks

    async def claim_chunk(
        self,
        job_id: str,
        chunk_index: int,
        *,
        worker: str,
        task_id: str = "",
        lease_duration: values.DurationLike | None = None,
        timeout: float | None = None,
    ) -> rpc.ClaimedChunk:
        """Lease one named chunk; with the `task_id` that holds it, answer with the lease in force.

        Raises JobNotFoundError, ChunkNotFoundError, ChunkNotClaimableError.
        """
        request = rpc.ClaimChunkRequest(
            job_id=job_id,
            chunk_index=chunk_index,
            worker=worker,
            task_id=task_id,
            lease_duration=values.duration(lease_duration),
        )
        answer = await self._caller.call(self._leases.ClaimChunk, request, idempotent=bool(task_id), timeout=timeout)
        return answer.chunk

    async def heartbeat(
        self,
        reports: Iterable[rpc.LeaseReport],
        *,
        lease_duration: values.DurationLike | None = None,
        timeout: float | None = None,
    ) -> Sequence[rpc.HeartbeatResult]:
        """Extend 1 to 1,000 leases to `lease_duration` (60 s when None) from now and report progress."""
        request = rpc.HeartbeatRequest(
            reports=requests.lease_reports(reports), lease_duration=values.duration(lease_duration)
        )
        return (await self._caller.call(self._leases.Heartbeat, request, timeout=timeout)).results

    async def complete_chunks(
        self, completions: Iterable[rpc.ChunkCompletion | str], *, timeout: float | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """End 1 to 1,000 leases with success; a string is a lease token with nothing more to say."""
        request = rpc.CompleteChunksRequest(completions=requests.completions(completions))
        return (await self._caller.call(self._leases.CompleteChunks, request, timeout=timeout)).results

    async def fail_chunks(
        self, failures: Iterable[rpc.ChunkFailure], *, timeout: float | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """End 1 to 1,000 leases with a failed attempt; each chunk goes again as its policy, or `retry_delay`, says."""
        request = rpc.FailChunksRequest(failures=failures)
        return (await self._caller.call(self._leases.FailChunks, request, timeout=timeout)).results

    async def release_chunks(
        self, releases: Iterable[rpc.ChunkRelease | str], *, timeout: float | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """Give 1 to 1,000 chunks back with the attempt not counted; a string is a lease token with nothing more to say.

        A chunk goes again at once, or after its release's `delay`.
        """
        request = rpc.ReleaseChunksRequest(releases=requests.releases(releases))
        return (await self._caller.call(self._leases.ReleaseChunks, request, timeout=timeout)).results

    async def watch_leases(self, *, worker: str, kinds: Iterable[str] = ()) -> AsyncIterator[rpc.WatchLeasesResponse]:
        """Yield which leases to check with a heartbeat: those of jobs that are to stop, of all `kinds` when empty.

        It is one stream, without an end of its own: after an error, open it again.
        """
        request = rpc.WatchLeasesRequest(worker=worker, kinds=kinds)
        stream = self._leases.WatchLeases(request, timeout=None, metadata=self._caller.metadata())
        try:
            while (message := await read(stream)) is not None:
                yield message
        except grpc.RpcError as failure:
            raise error_from_call(failure) from failure
        finally:
            stream.cancel()
