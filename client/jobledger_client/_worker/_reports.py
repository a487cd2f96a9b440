"""The outboxes of a worker, one for each way in which a worker ends a lease."""

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from functools import partial
from typing import NoReturn, Protocol
from uuid import uuid4

from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimChunksRequest,
    ClaimedChunk,
    LeaseReport,
    LeaseResult,
)

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._worker._outbox import Outbox


class NextChunks(Protocol):
    """Claims the next chunks with the reports that end as many leases."""

    def claim(self, ended: int) -> ClaimChunksRequest | None:
        """Return the claim that goes with the ends of so many leases; None for no claim."""

    def start(self, claimed: Sequence[ClaimedChunk]) -> None:
        """Work on the claimed chunks."""


class Reports:
    """The outboxes of one worker. `overflow` has what exceeds the message that ends a lease."""

    def __init__(
        self,
        client: AsyncJobClient,
        backoff: Backoff,
        lease_duration: timedelta,
        next_chunks: NextChunks | None = None,
    ) -> None:
        self._leases = client.leases
        self._next_chunks = next_chunks
        # Of the claims that have no answer yet, one for each outbox: repeated, they get the same leases.
        self._claim_ids: dict[type[ChunkCompletion | ChunkFailure], str] = {
            report_type: str(uuid4()) for report_type in (ChunkCompletion, ChunkFailure)
        }
        self.completions: Outbox[ChunkCompletion] = Outbox(self._complete, backoff)
        self.failures: Outbox[ChunkFailure] = Outbox(self._fail, backoff)
        self.releases: Outbox[ChunkRelease] = Outbox(client.leases.release_chunks, backoff)
        heartbeat = partial(client.leases.heartbeat, lease_duration=lease_duration)
        self.overflow: Outbox[LeaseReport] = Outbox(heartbeat, backoff)

    async def _complete(self, completions: Sequence[ChunkCompletion]) -> Sequence[LeaseResult]:
        if self._next_chunks is None or (claim := self._next_chunks.claim(len(completions))) is None:
            return await self._leases.complete_chunks(completions)
        claim.request_id = self._claim_ids[ChunkCompletion]
        completed = await self._leases.complete_and_claim(completions, claim)
        self._claim_ids[ChunkCompletion] = str(uuid4())
        self._next_chunks.start(completed.claimed)
        return completed.results

    async def _fail(self, failures: Sequence[ChunkFailure]) -> Sequence[LeaseResult]:
        if self._next_chunks is None or (claim := self._next_chunks.claim(len(failures))) is None:
            return await self._leases.fail_chunks(failures)
        claim.request_id = self._claim_ids[ChunkFailure]
        failed = await self._leases.fail_and_claim(failures, claim)
        self._claim_ids[ChunkFailure] = str(uuid4())
        self._next_chunks.start(failed.claimed)
        return failed.results

    def runs(self) -> dict[str, Coroutine[None, None, NoReturn]]:
        """Return the coroutines that send, by name."""
        return {
            "completions": self.completions.run(),
            "failures": self.failures.run(),
            "releases": self.releases.run(),
            "overflow": self.overflow.run(),
        }
