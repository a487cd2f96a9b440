"""The gRPC server: its services, its limits, and how it stops."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.longrunning import operations_proto_pb2
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from jobledger.v1 import (
    admin_service_pb2,
    import_service_pb2,
    job_service_pb2,
    limit_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

from .health_service import HealthService
from .in_flight import HARD
from .reflection_service import ReflectionService, describe_v1
from .rpc_server import RpcServer
from .tls import Certificates

JOB_SERVICE: Final = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKER_SERVICE: Final = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
ADMIN_SERVICE: Final = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]
WEBHOOK_SERVICE: Final = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"]
LIMIT_SERVICE: Final = limit_service_pb2.DESCRIPTOR.services_by_name["LimitService"]
IMPORT_SERVICE: Final = import_service_pb2.DESCRIPTOR.services_by_name["ImportService"]
OPERATIONS: Final = operations_proto_pb2.DESCRIPTOR.services_by_name["Operations"]
# The stubs of these name protobuf's classes in C.
HEALTH: Final[ServiceDescriptor] = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]
REFLECTION: Final = describe_v1()
REFLECTION_V1ALPHA: Final[ServiceDescriptor] = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]  # type: ignore[assignment]
CHANNELZ: Final[ServiceDescriptor] = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]  # type: ignore[assignment]
SERVICES: Final = (
    JOB_SERVICE,
    WORKER_SERVICE,
    ADMIN_SERVICE,
    WEBHOOK_SERVICE,
    LIMIT_SERVICE,
    IMPORT_SERVICE,
    OPERATIONS,
)
ADMIN_SERVICES: Final = (ADMIN_SERVICE,)
"""What the admin listener serves too."""
NAMES: Final = tuple(descriptor.full_name for descriptor in SERVICES)
"""The services whose health is NOT_SERVING while the database is lost; GetSystemHealth answers all the same: ADR 40."""

OPTIONS: Final = (
    # Thousands of watchers come back at once when a replica goes; the defaults turn most of them away.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_concurrent_streams", 100_000),
    # A call that waits for longer than this before it is looked at ends as CANCELLED, which nobody asked for: not after
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


@dataclass(frozen=True, slots=True)
class Listener:
    """One address that is served, and the port that it got."""

    server: grpc.aio.Server
    port: int


@dataclass(slots=True)
class GrpcServer:
    """The listeners of one process, and the health that all of them tell."""

    main: Listener
    admin: Listener | None
    health: HealthService

    def _listeners(self) -> list[Listener]:
        return [self.main] if self.admin is None else [self.main, self.admin]

    async def start(self) -> None:
        """Serve, and say so."""
        for one in self._listeners():
            await one.server.start()
        self.health.show(("", *NAMES), serves=True)

    async def show(self, serves: bool) -> None:  # noqa: FBT001  the form that duties call
        """Say whether the services, which need the database, serve; the process itself, "", does in any case."""
        self.health.show(NAMES, serves=serves)

    async def drain(self) -> None:
        """Say that no more calls are wanted."""
        self.health.drain()

    async def stop(self, grace: float) -> None:
        """Close the connections, giving calls that run `grace` seconds to finish."""
        await asyncio.gather(*(one.server.stop(grace) for one in self._listeners()))


@dataclass(frozen=True, slots=True)
class ListenerConfig:
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
    main: ListenerConfig,
    admin: ListenerConfig | None,
    rpc_server: RpcServer,
    services: Mapping[ServiceDescriptor, object],
) -> GrpcServer:
    """Return a server bound to its addresses; raises CannotListenError."""
    health = HealthService(NAMES)
    first = _listener(main, rpc_server, services, health)
    second = _listener(admin, rpc_server, services, health) if admin else None
    return GrpcServer(first, second, health)


def _listener(
    port: ListenerConfig,
    rpc_server: RpcServer,
    services: Mapping[ServiceDescriptor, object],
    health: HealthService,
) -> Listener:
    ours = (
        ("grpc.so_reuseport", int(port.shared)),
        ("grpc.enable_channelz", int(port.counted)),
        ("grpc.max_receive_message_length", HARD * port.message_limit),
    )
    server = grpc.aio.server(options=(*OPTIONS, *ours))
    served: dict[ServiceDescriptor, object] = {descriptor: services[descriptor] for descriptor in port.services}
    served[HEALTH] = health
    if port.reflection:
        both = (REFLECTION, REFLECTION_V1ALPHA)
        served |= dict.fromkeys(both, ReflectionService([one.full_name for one in (*served, *both)]))
    server.add_generic_rpc_handlers([rpc_server.handler(descriptor, service) for descriptor, service in served.items()])
    return Listener(server, _bind(server, port))


def _bind(server: grpc.aio.Server, port: ListenerConfig) -> int:
    try:
        if port.certificates is None:
            return server.add_insecure_port(port.listen)
        return server.add_secure_port(port.listen, port.certificates.credentials())
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {port.listen}: is the port taken?") from error
