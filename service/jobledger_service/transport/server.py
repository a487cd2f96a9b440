"""The gRPC server: its services, its limits, and how it stops."""

import asyncio
from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from msgspec import Struct as MsgStruct

from .grpc_services import (
    CHANNELZ_METHODS,
    HEALTH,
    HEALTH_METHODS,
    REFLECTION,
    REFLECTION_METHODS,
    REFLECTION_V1ALPHA,
    ChannelzService,
    HealthService,
    ReflectionService,
)
from .limits.in_flight import HARD
from .methods import Calls
from .rpc_server import RpcServer
from .tls import Certificates

OPTIONS: Final = (
    # Thousands of watchers come back at once when a replica goes; the defaults turn most of them away. Each call that
    # waits here takes 15 KiB, whoever sent it.
    ("grpc.server.max_pending_requests", 12_000),
    ("grpc.server.max_pending_requests_hard_limit", 16_000),
    ("grpc.max_concurrent_streams", 100_000),
    # A call that waits for longer than this before it is handled ends as CANCELLED, which nobody asked for: not after
    # the default of 30 s, but when its own deadline is over.
    ("grpc.server_max_unrequested_time_in_server", 3_600),
    # What a sender may send before the server asks for it; else the windows grow with what arrives, to megabytes each.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Connections move to new replicas in time; watches resume, other calls finish within the grace.
    ("grpc.max_connection_age_ms", 2 * 3_600_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
)


class CannotListenError(OSError):
    """The address cannot be listened on."""


class GrpcServer(MsgStruct, frozen=True):
    """The listeners of one process, the main one first, and the ports that they got."""

    listeners: Sequence[grpc.aio.Server]
    ports: Sequence[int]

    async def start(self) -> None:
        """Serve."""
        for listener in self.listeners:
            await listener.start()

    async def stop(self, grace: float) -> None:
        """Close the connections, giving calls that run `grace` seconds to finish."""
        await asyncio.gather(*(listener.stop(grace) for listener in self.listeners))


class ListenerConfig(MsgStruct, frozen=True):
    """Where to serve, HOST:PORT, and what: without TLS when there are no certificates.

    `counted` is for channelz: without it gRPC keeps no account of connections. `message_limit` is in bytes.
    """

    listen: str
    certificates: Certificates | None
    services: Sequence[ServiceDescriptor]
    reflection: bool
    counted: bool
    shared: bool
    message_limit: int


def build(
    configs: Sequence[ListenerConfig], rpc_server: RpcServer, calls: Sequence[Calls], health: HealthService
) -> GrpcServer:
    """Return a server bound to its addresses; raises CannotListenError."""
    health.add({method.service for entry in calls for method in entry.methods})
    every = (*calls, Calls(CHANNELZ_METHODS, ChannelzService()), Calls(HEALTH_METHODS, health))
    listeners = [_listener(config, rpc_server, every) for config in configs]
    return GrpcServer(listeners, [_bind(*pair) for pair in zip(listeners, configs, strict=True)])


def _listener(config: ListenerConfig, rpc_server: RpcServer, calls: Sequence[Calls]) -> grpc.aio.Server:
    ours = (
        ("grpc.so_reuseport", int(config.shared)),
        ("grpc.enable_channelz", int(config.counted)),
        ("grpc.max_receive_message_length", HARD * config.message_limit),
    )
    server = grpc.aio.server(options=(*OPTIONS, *ours))
    served = [*config.services, HEALTH]
    if config.reflection:
        served += [REFLECTION, REFLECTION_V1ALPHA]
        calls = [*calls, Calls(REFLECTION_METHODS, ReflectionService([service.full_name for service in served]))]
    server.add_generic_rpc_handlers([rpc_server.handler(descriptor, calls) for descriptor in served])
    return server


def _bind(server: grpc.aio.Server, config: ListenerConfig) -> int:
    try:
        if config.certificates is None:
            return server.add_insecure_port(config.listen)
        return server.add_secure_port(config.listen, config.certificates.credentials())
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {config.listen}: is the port taken?") from error
