"""The outboxes of a worker, one for each way in which a worker ends a lease."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from typing import Generic, NoReturn, Protocol, TypeAlias, TypeVar
from uuid import uuid4

from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksResponse,
    FailChunksResponse,
    LeaseReport,
    LeaseResult,
    ReleaseChunksResponse,
)

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._worker._outbox import Outbox

Item = TypeVar("Item")
Response: TypeAlias = CompleteChunksResponse | FailChunksResponse | ReleaseChunksResponse


class NextChunks(Protocol):
    """Claims the next chunks with the reports that end as many leases."""

    def claim(self, ended: int) -> ClaimChunksRequest | None:
        """Return the claim that goes with the ends of so many leases; None for no claim."""

    def start(self, claimed: Sequence[ClaimedChunk]) -> None:
        """Work on the claimed chunks."""


class _Ends(Generic[Item]):
    """Sends the ends of leases, with the claim for the slots that they free."""

    def __init__(
        self,
        end: Callable[[Sequence[Item]], Awaitable[Sequence[LeaseResult]]],
        end_and_claim: Callable[[Sequence[Item], ClaimChunksRequest], Awaitable[Response]],
        next_chunks: NextChunks | None,
    ) -> None:
        self._end = end
        self._end_and_claim = end_and_claim
        self._next_chunks = next_chunks
        self._claim_id = str(uuid4())  # of the claim that has no answer yet: repeated, it gets the same leases

    async def send(self, items: Sequence[Item]) -> Sequence[LeaseResult]:
        """Send the ends, and start to work on the claimed chunks; return the results."""
        if self._next_chunks is None or (claim := self._next_chunks.claim(len(items))) is None:
            return await self._end(items)
        claim.request_id = self._claim_id
        response = await self._end_and_claim(items, claim)
        self._claim_id = str(uuid4())
        self._next_chunks.start(response.claimed)
        return response.results


class Reports:
    """The outboxes of one worker. `overflow` has what exceeds the message that ends a lease."""

    def __init__(
        self,
        client: AsyncJobClient,
        backoff: Backoff,
        lease_duration: timedelta,
        next_chunks: NextChunks | None = None,
    ) -> None:
        leases = client.leases
        completions = _Ends(leases.complete_chunks, leases.complete_and_claim, next_chunks)
        failures = _Ends(leases.fail_chunks, leases.fail_and_claim, next_chunks)
        releases = _Ends(leases.release_chunks, leases.release_and_claim, next_chunks)
        self.completions: Outbox[ChunkCompletion] = Outbox(completions.send, backoff)
        self.failures: Outbox[ChunkFailure] = Outbox(failures.send, backoff)
        self.releases: Outbox[ChunkRelease] = Outbox(releases.send, backoff)
        heartbeat = partial(leases.heartbeat, lease_duration=lease_duration)
        self.overflow: Outbox[LeaseReport] = Outbox(heartbeat, backoff)

    def runs(self) -> dict[str, Coroutine[None, None, NoReturn]]:
        """Return the coroutines that send, by name."""
        return {
            "completions": self.completions.run(),
            "failures": self.failures.run(),
            "releases": self.releases.run(),
            "overflow": self.overflow.run(),
        }
