# Generated from _async/_client.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The client: one connection, and the calls of each service on it."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

import grpc

from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff
from jobledger_client._sync._admin import AdminCalls
from jobledger_client._sync._backend import Channel, Clock, open_channel
from jobledger_client._sync._bulk import BulkCalls
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._exports import ExportCalls
from jobledger_client._sync._imports import ImportCalls
from jobledger_client._sync._jobs import JobCalls
from jobledger_client._sync._leases import LeaseCalls
from jobledger_client._sync._limits import LimitCalls
from jobledger_client._sync._statistics import StatisticsCalls
from jobledger_client._sync._webhooks import WebhookCalls

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _job_call(
    method: Callable[Concatenate[JobCalls, Parameters], Result],
) -> Callable[Concatenate["JobClient", Parameters], Result]:
    """Return a method of the client that calls a method of `client.jobs`."""

    @wraps(method)
    def call(client: "JobClient", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return method(client.jobs, *args, **kwargs)

    return call


class JobClient:
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
        clock: Clock | None = None,
    ) -> None:
        self._owns_channel = channel is None
        self._channel = channel = channel or open_channel(target, credentials, options)
        self._caller = caller = Caller(
            api_key=api_key, metadata=metadata, timeout=timeout, backoff=backoff, throttle=throttle, clock=clock
        )
        self.jobs = JobCalls(channel, caller)
        self.bulk = BulkCalls(channel, caller)
        self.exports = ExportCalls(channel, caller)
        self.statistics = StatisticsCalls(channel, caller)
        self.leases = LeaseCalls(channel, caller)
        self.limits = LimitCalls(channel, caller)
        self.imports = ImportCalls(channel, caller)
        self.webhooks = WebhookCalls(channel, caller)
        self.admin = AdminCalls(channel, caller)

    create_job = _job_call(JobCalls.create_job)
    create_jobs = _job_call(JobCalls.create_jobs)
    get_job = _job_call(JobCalls.get_job)
    batch_get_jobs = _job_call(JobCalls.batch_get_jobs)
    list_jobs = _job_call(JobCalls.list_jobs)
    list_chunks = _job_call(JobCalls.list_chunks)
    list_attempts = _job_call(JobCalls.list_attempts)
    list_events = _job_call(JobCalls.list_events)
    watch = _job_call(JobCalls.watch)
    watch_jobs = _job_call(JobCalls.watch_jobs)
    wait = _job_call(JobCalls.wait)
    cancel_job = _job_call(JobCalls.cancel_job)
    retry_job = _job_call(JobCalls.retry_job)
    update_job = _job_call(JobCalls.update_job)
    delete_job = _job_call(JobCalls.delete_job)

    def close(self) -> None:
        """Close the connection. Calls in flight are cancelled; later ones raise ClientClosedError."""
        self._caller.close()
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
