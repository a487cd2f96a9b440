"""The client: one connection, and the calls of each service on it."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

import grpc

from jobledger_client._async._admin import AsyncAdminCalls
from jobledger_client._async._backend import AsyncClock, Channel, open_channel
from jobledger_client._async._bulk import AsyncBulkCalls
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._exports import AsyncExportCalls
from jobledger_client._async._imports import AsyncImportCalls
from jobledger_client._async._jobs import AsyncJobCalls
from jobledger_client._async._leases import AsyncLeaseCalls
from jobledger_client._async._limits import AsyncLimitCalls
from jobledger_client._async._statistics import AsyncStatisticsCalls
from jobledger_client._async._webhooks import AsyncWebhookCalls
from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _job_call(
    method: Callable[Concatenate[AsyncJobCalls, Parameters], Result],
) -> Callable[Concatenate["AsyncJobClient", Parameters], Result]:
    """Return a method of the client that calls a method of `client.jobs`."""

    @wraps(method)
    def call(client: "AsyncJobClient", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return method(client.jobs, *args, **kwargs)

    return call


class AsyncJobClient:
    """A client of Jobledger at `target`, such as "127.0.0.1:7070". It is a context manager; else close it.

    The calls are in groups: `client.jobs`, `client.bulk`, `client.exports`, `client.statistics`, `client.leases`,
    `client.limits`, `client.imports`, `client.webhooks` and `client.admin`. Those of `client.jobs` are methods of the
    client, too: `client.create_job(…)`. A method has the name of its RPC.

    `api_key` is the API key; None means JOBLEDGER_API_KEY of the environment, an empty string no key. `credentials`
    make the connection TLS; without them it is plain. `metadata` is sent with every call: pairs, or a function that
    returns them for each attempt. `options` are gRPC channel options that override the client's own. `timeout` is the
    default for each call, retries included. `throttle` is whether the client holds most calls of a method
    back for as long as a refusal for overload asks for. `channel` is an open channel to use instead of `target`; the
    client does not close it.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
        timeout: timedelta = timedelta(seconds=10),
        backoff: Backoff | None = None,
        throttle: bool = True,
        channel: Channel | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        self._owns_channel = channel is None
        self._channel = channel = channel or open_channel(target, credentials, options)
        self._caller = caller = AsyncCaller(
            api_key=api_key, metadata=metadata, timeout=timeout, backoff=backoff, throttle=throttle, clock=clock
        )
        self.jobs = AsyncJobCalls(channel, caller)
        self.bulk = AsyncBulkCalls(channel, caller)
        self.exports = AsyncExportCalls(channel, caller)
        self.statistics = AsyncStatisticsCalls(channel, caller)
        self.leases = AsyncLeaseCalls(channel, caller)
        self.limits = AsyncLimitCalls(channel, caller)
        self.imports = AsyncImportCalls(channel, caller)
        self.webhooks = AsyncWebhookCalls(channel, caller)
        self.admin = AsyncAdminCalls(channel, caller)

    create_job = _job_call(AsyncJobCalls.create_job)
    create_jobs = _job_call(AsyncJobCalls.create_jobs)
    get_job = _job_call(AsyncJobCalls.get_job)
    batch_get_jobs = _job_call(AsyncJobCalls.batch_get_jobs)
    list_jobs = _job_call(AsyncJobCalls.list_jobs)
    list_chunks = _job_call(AsyncJobCalls.list_chunks)
    list_attempts = _job_call(AsyncJobCalls.list_attempts)
    list_events = _job_call(AsyncJobCalls.list_events)
    watch = _job_call(AsyncJobCalls.watch)
    watch_jobs = _job_call(AsyncJobCalls.watch_jobs)
    wait = _job_call(AsyncJobCalls.wait)
    cancel_job = _job_call(AsyncJobCalls.cancel_job)
    retry_job = _job_call(AsyncJobCalls.retry_job)
    update_job = _job_call(AsyncJobCalls.update_job)
    delete_job = _job_call(AsyncJobCalls.delete_job)

    async def close(self) -> None:
        """Close the connection. Calls in flight are cancelled; later ones raise ClientClosedError."""
        self._caller.close()
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
