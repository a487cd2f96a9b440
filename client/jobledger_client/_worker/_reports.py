"""The ways in which a lease ends by its worker's word, each with its outbox."""

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
    """The outboxes of one worker. `ahead` is for what is too much for the message that ends a lease."""

    def __init__(self, client: AsyncJobClient, backoff: Backoff, lease_duration: timedelta) -> None:
        self.completions: Outbox[ChunkCompletion] = Outbox(client.leases.complete_chunks, backoff)
        self.failures: Outbox[ChunkFailure] = Outbox(client.leases.fail_chunks, backoff)
        self.releases: Outbox[ChunkRelease] = Outbox(client.leases.release_chunks, backoff)
        self.ahead: Outbox[LeaseReport] = Outbox(
            partial(client.leases.heartbeat, lease_duration=lease_duration), backoff
        )

    def runs(self) -> dict[str, Coroutine[None, None, NoReturn]]:
        """Return what sends each of them, by name."""
        return {
            "completions": self.completions.run(),
            "failures": self.failures.run(),
            "releases": self.releases.run(),
            "reports ahead": self.ahead.run(),
        }
