"""The calls of WorkerService: claims, heartbeats and reports."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from jobledger.v1 import worker_service_pb2 as rpc
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._pages import AsyncPages
from jobledger_client._async._stream import AsyncResumingStream
from jobledger_client._status import check_results

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncLeaseCalls:
    """Leases on chunks, for workers and the engines that run them. Worker makes these calls by itself.

    A response has one result for each lease, in order; `error` says why a report is REFUSED. The client repeats calls
    after a lost connection. Each may raise InvalidFieldError; the service then changed nothing.
    """

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._stub = WorkerServiceStub(channel)
        self._caller = caller

    async def claim_chunks(
        self,
        kinds: Iterable[str] = (),
        *,
        worker: str,
        job_ids: Iterable[str] = (),
        owners: Iterable[str] = (),
        version: str = "",
        host: str = "",
        max_chunks: int = 1,
        lease_duration: values.DurationLike | None = None,
        wait: timedelta = timedelta(0),
        request_id: str = "",
        timeout: timedelta | None = None,
    ) -> Sequence[rpc.ClaimedChunk]:
        """Lease up to `max_chunks` (1 to 1,000) chunks, the most urgent first; return none after `wait` (≤ 5 min).

        The chunks are those of 1 to 100 `kinds`, or in place of kinds of up to 100 jobs by id. `owners`, up to 100, are
        some of those that the key serves; empty means all of them. `version` and `host` are shown by list_workers.
        `lease_duration` is 1 s to 24 h, 60 s when None. `timeout` is added to `wait`. An attempt
        whose response was lost is repeated with the same `request_id`, a random one when empty, and returns the same
        leases. To repeat a call that failed, name the `request_id` yourself.
        """
        request = rpc.ClaimChunksRequest(
            kinds=kinds,
            job_ids=job_ids,
            owners=owners,
            version=version,
            host=host,
            max_chunks=max_chunks,
            worker=worker,
            lease_duration=values.duration(lease_duration),
            wait=values.duration(wait),
            request_id=request_id or str(uuid4()),
        )
        total = wait + (self._caller.timeout if timeout is None else timeout)
        return (await self._caller.call(self._stub.ClaimChunks, request, timeout=total)).chunks

    async def claim_chunk(
        self,
        job_id: str,
        chunk_index: int,
        *,
        worker: str,
        task_id: str = "",
        uid: str = "",
        owner: str = "",
        lease_duration: values.DurationLike | None = None,
        timeout: timedelta | None = None,
    ) -> rpc.ClaimedChunk:
        """Lease one chunk by name; with the `task_id` that holds it, return the lease in force.

        With a `uid`, another job with this job_id is not found. `owner` is whose job it is, one that the key serves.

        Raises JobNotFoundError, ChunkNotFoundError, ChunkNotClaimableError.
        """
        request = rpc.ClaimChunkRequest(
            job_id=job_id,
            chunk_index=chunk_index,
            worker=worker,
            task_id=task_id,
            uid=uid,
            owner=owner,
            lease_duration=values.duration(lease_duration),
        )
        idempotent = bool(task_id)
        return (await self._caller.call(self._stub.ClaimChunk, request, idempotent=idempotent, timeout=timeout)).chunk

    async def heartbeat(
        self,
        reports: Iterable[rpc.LeaseReport],
        *,
        lease_duration: values.DurationLike | None = None,
        timeout: timedelta | None = None,
    ) -> Sequence[rpc.HeartbeatResult]:
        """Extend 1 to 1,000 leases to `lease_duration` from now and report progress.

        None keeps the duration of each lease.
        """
        request = rpc.HeartbeatRequest(
            reports=requests.reports(rpc.LeaseReport, reports, "reports"),
            lease_duration=values.duration(lease_duration),
        )
        response = await self._caller.call(self._stub.Heartbeat, request, timeout=timeout)
        check_results(response.results, request.reports)
        return response.results

    async def complete_chunks(
        self, completions: Iterable[rpc.ChunkCompletion | str], *, timeout: timedelta | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """Complete 1 to 1,000 chunks; a string is a lease token without a last report."""
        request = rpc.CompleteChunksRequest(
            completions=requests.reports(rpc.ChunkCompletion, completions, "completions")
        )
        return (await self._complete(request, timeout)).results

    async def fail_chunks(
        self, failures: Iterable[rpc.ChunkFailure], *, timeout: timedelta | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """Fail 1 to 1,000 attempts; the retry policy, or `retry_delay`, decides when each chunk is tried again."""
        return (await self._fail(rpc.FailChunksRequest(failures=failures), timeout)).results

    async def complete_and_claim(
        self,
        completions: Iterable[rpc.ChunkCompletion | str],
        claim: rpc.ClaimChunksRequest,
        *,
        timeout: timedelta | None = None,
    ) -> rpc.CompleteChunksResponse:
        """Complete chunks as `complete_chunks`, and lease the next ones in the same commit: `claimed`.

        `claim` must not wait. With a `request_id` of the claim, a repeated call returns the same chunks; without one,
        chunks whose response was lost become claimable again when their leases expire.
        """
        request = rpc.CompleteChunksRequest(
            completions=requests.reports(rpc.ChunkCompletion, completions, "completions"), claim=claim
        )
        return await self._complete(request, timeout)

    async def _complete(
        self, request: rpc.CompleteChunksRequest, timeout: timedelta | None
    ) -> rpc.CompleteChunksResponse:
        response = await self._caller.call(self._stub.CompleteChunks, request, timeout=timeout)
        check_results(response.results, request.completions)
        return response

    async def fail_and_claim(
        self, failures: Iterable[rpc.ChunkFailure], claim: rpc.ClaimChunksRequest, *, timeout: timedelta | None = None
    ) -> rpc.FailChunksResponse:
        """Fail attempts as `fail_chunks`, and lease the next chunks in the same commit, as `complete_and_claim`."""
        return await self._fail(rpc.FailChunksRequest(failures=failures, claim=claim), timeout)

    async def _fail(self, request: rpc.FailChunksRequest, timeout: timedelta | None) -> rpc.FailChunksResponse:
        response = await self._caller.call(self._stub.FailChunks, request, timeout=timeout)
        check_results(response.results, request.failures)
        return response

    async def release_chunks(
        self, releases: Iterable[rpc.ChunkRelease | str], *, timeout: timedelta | None = None
    ) -> Sequence[rpc.LeaseResult]:
        """Release 1 to 1,000 chunks without counting the attempt; a string is a lease token without a last report.

        A chunk is claimable again at once, or after the `delay` of its release.
        """
        request = rpc.ReleaseChunksRequest(releases=requests.reports(rpc.ChunkRelease, releases, "releases"))
        return (await self._release(request, timeout)).results

    async def release_and_claim(
        self,
        releases: Iterable[rpc.ChunkRelease | str],
        claim: rpc.ClaimChunksRequest,
        *,
        timeout: timedelta | None = None,
    ) -> rpc.ReleaseChunksResponse:
        """Release chunks as `release_chunks`, and lease the next ones in the same commit, as `complete_and_claim`."""
        request = rpc.ReleaseChunksRequest(
            releases=requests.reports(rpc.ChunkRelease, releases, "releases"), claim=claim
        )
        return await self._release(request, timeout)

    async def _release(self, request: rpc.ReleaseChunksRequest, timeout: timedelta | None) -> rpc.ReleaseChunksResponse:
        response = await self._caller.call(self._stub.ReleaseChunks, request, timeout=timeout)
        check_results(response.results, request.releases)
        return response

    def list_workers(
        self, *, page_size: int = 0, page_token: str = "", timeout: timedelta | None = None
    ) -> AsyncPages[rpc.ListWorkersResponse, rpc.Worker]:
        """List the workers that claim the caller's chunks: those of the owner's keys, then others that serve the owner.

        The service notes workers every few seconds, and forgets them after 10 minutes of silence.
        """
        request = rpc.ListWorkersRequest(page_size=page_size, page_token=page_token)
        return AsyncPages(self._caller, self._stub.ListWorkers, request, lambda page: page.workers, timeout)

    def watch_leases(self, *, worker: str, kinds: Iterable[str] = ()) -> AsyncResumingStream[rpc.WatchLeasesResponse]:
        """Watch which leases a worker is to check with a heartbeat: those of jobs that are to stop.

        Empty `kinds` mean all. The stream has no end of its own, and reconnects for as long as it takes; the service
        names all leases at the start of each connection.
        """
        request = rpc.WatchLeasesRequest(worker=worker, kinds=kinds)
        return AsyncResumingStream(
            self._caller, self._stub.WatchLeases, lambda: request, timeout=None, reconnect_timeout=None
        )
