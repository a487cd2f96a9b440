"""The four ways in which a lease ends by its worker's word, each with its outbox."""

from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._worker._outbox import Outbox

if TYPE_CHECKING:
    from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure


class Reports:
    """The outboxes of one worker."""

    def __init__(self, client: AsyncJobClient, backoff: Backoff) -> None:
        release = client.release_chunks
        self.completions: Outbox[ChunkCompletion] = Outbox(client.complete_chunks, backoff)
        self.failures: Outbox[ChunkFailure] = Outbox(client.fail_chunks, backoff)
        self.releases_of_cancelled: Outbox[str] = Outbox(partial(release, reason="the job is cancelled"), backoff)
        self.releases_of_draining: Outbox[str] = Outbox(partial(release, reason="the worker shuts down"), backoff)

    def runs(self) -> dict[str, Coroutine[None, None, NoReturn]]:
        """Return what sends each of them, by name."""
        return {
            "completions": self.completions.run(),
            "failures": self.failures.run(),
            "releases of cancelled chunks": self.releases_of_cancelled.run(),
            "releases of a draining worker": self.releases_of_draining.run(),
        }
