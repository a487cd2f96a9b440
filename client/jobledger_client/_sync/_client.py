# Generated from _async/_client.py by client/generate_sync.py: edit that one, then run `make gen`.
"""The client: one channel, and all calls of all services on it."""

from typing import Self

import grpc

from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff
from jobledger_client._sync._admin import AdminCalls
from jobledger_client._sync._backend import Channel, Clock, open_channel
from jobledger_client._sync._bulk import BulkCalls
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._export import ExportCalls
from jobledger_client._sync._imports import ImportCalls
from jobledger_client._sync._jobs import JobCalls
from jobledger_client._sync._leases import LeaseCalls
from jobledger_client._sync._limits import LimitCalls
from jobledger_client._sync._stats import StatsCalls
from jobledger_client._sync._webhooks import WebhookCalls


class JobClient(
    JobCalls,
    BulkCalls,
    StatsCalls,
    ExportCalls,
    LeaseCalls,
    LimitCalls,
    ImportCalls,
    WebhookCalls,
    AdminCalls,
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
        clock: Clock | None = None,
    ) -> None:
        self._owns_channel = channel is None
        self._channel = channel or open_channel(target, credentials, options)
        caller = Caller(api_key=api_key, metadata=metadata, timeout=timeout, backoff=backoff, clock=clock)
        JobCalls.__init__(self, self._channel, caller)
        StatsCalls.__init__(self, self._channel, caller)
        ExportCalls.__init__(self, self._channel, caller)
        BulkCalls.__init__(self, self._channel, caller)
        LeaseCalls.__init__(self, self._channel, caller)
        LimitCalls.__init__(self, self._channel, caller)
        ImportCalls.__init__(self, self._channel, caller)
        AdminCalls.__init__(self, self._channel, caller)
        WebhookCalls.__init__(self, self._channel, caller)

    def close(self) -> None:
        """Close the connection. Calls in flight are cancelled; later ones raise ClientClosedError."""
        self._caller.close()
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
