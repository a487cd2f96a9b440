"""The client: one channel, and all calls of all services on it."""

from typing import Self

import grpc

from jobledger_client._async._admin import AsyncAdminCalls
from jobledger_client._async._backend import AsyncClock, Channel, open_channel
from jobledger_client._async._bulk import AsyncBulkCalls
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._export import AsyncExportCalls
from jobledger_client._async._imports import AsyncImportCalls
from jobledger_client._async._jobs import AsyncJobCalls
from jobledger_client._async._leases import AsyncLeaseCalls
from jobledger_client._async._limits import AsyncLimitCalls
from jobledger_client._async._stats import AsyncStatsCalls
from jobledger_client._async._webhooks import AsyncWebhookCalls
from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff


class AsyncJobClient(
    AsyncJobCalls,
    AsyncBulkCalls,
    AsyncStatsCalls,
    AsyncExportCalls,
    AsyncLeaseCalls,
    AsyncLimitCalls,
    AsyncImportCalls,
    AsyncWebhookCalls,
    AsyncAdminCalls,
):
    """A client of Jobledger at `target`, such as "127.0.0.1:7070". It is a context manager; else close it.

    `api_key` is the key to call with, JOBLEDGER_API_KEY of the environment when None, none when empty. `credentials`
    make the connection TLS; without, it is plain. `metadata` goes with every call: pairs, or a function that gives them
    anew for each attempt. `options` are gRPC channel options over the client's own. `timeout` is the
    default for each call in seconds, retries included. `channel` is an open channel to use instead of `target`; it is
    not closed.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
        timeout: float = 10.0,
        backoff: Backoff | None = None,
        channel: Channel | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        self._owns_channel = channel is None
        self._channel = channel or open_channel(target, credentials, options)
        caller = AsyncCaller(api_key=api_key, metadata=metadata, timeout=timeout, backoff=backoff, clock=clock)
        AsyncJobCalls.__init__(self, self._channel, caller)
        AsyncStatsCalls.__init__(self, self._channel, caller)
        AsyncExportCalls.__init__(self, self._channel, caller)
        AsyncBulkCalls.__init__(self, self._channel, caller)
        AsyncLeaseCalls.__init__(self, self._channel, caller)
        AsyncLimitCalls.__init__(self, self._channel, caller)
        AsyncImportCalls.__init__(self, self._channel, caller)
        AsyncAdminCalls.__init__(self, self._channel, caller)
        AsyncWebhookCalls.__init__(self, self._channel, caller)

    async def close(self) -> None:
        """Close the connection. Calls in flight are cancelled; later ones raise ClientClosedError."""
        self._caller.close()
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
