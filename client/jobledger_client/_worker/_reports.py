"""The outboxes of a worker, one for each way in which a worker ends a lease."""

from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._worker._outbox import Outbox

if TYPE_CHECKING:
    from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ChunkRelease, LeaseReport


class Reports:
    """The outboxes of one worker. `overflow` has what exceeds the message that ends a lease."""

    def __init__(self, client: AsyncJobClient, backoff: Backoff, lease_duration: timedelta) -> None:
        self.completions: Outbox[ChunkCompletion] = Outbox(client.leases.complete_chunks, backoff)
        self.failures: Outbox[ChunkFailure] = Outbox(client.leases.fail_chunks, backoff)
        self.releases: Outbox[ChunkRelease] = Outbox(client.leases.release_chunks, backoff)
        heartbeat = partial(client.leases.heartbeat, lease_duration=lease_duration)
        self.overflow: Outbox[LeaseReport] = Outbox(heartbeat, backoff)

    def runs(self) -> dict[str, Coroutine[None, None, NoReturn]]:
        """Return the coroutines that send, by name."""
        return {
            "completions": self.completions.run(),
            "failures": self.failures.run(),
            "releases": self.releases.run(),
            "overflow": self.overflow.run(),
        }
