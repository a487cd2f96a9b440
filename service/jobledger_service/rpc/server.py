"""The gRPC server: its services, its limits, and how it stops."""

from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from jobledger.v1 import job_service_pb2, webhook_service_pb2, worker_service_pb2

from .job_service import JobService
from .serving import Serving
from .webhook_service import WebhookService
from .worker_service import WorkerService

JOB_SERVICE: Final = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKER_SERVICE: Final = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
WEBHOOK_SERVICE: Final = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"]
NAMES: Final = (JOB_SERVICE.full_name, WORKER_SERVICE.full_name, WEBHOOK_SERVICE.full_name)

OPTIONS: Final = (
    # Thousands of watchers come back at once when a replica goes; the defaults turn most of them away.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_concurrent_streams", 100_000),
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


@dataclass(slots=True)
class GrpcServer:
    """The server of one process."""

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    port: int

    async def start(self) -> None:
        """Serve, and say so."""
        await self.server.start()
        for name in ("", *NAMES):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say that no more calls are wanted."""
        await self.health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Close the connections, giving calls that run `grace` seconds to finish."""
        await self.server.stop(grace)


@dataclass(frozen=True, slots=True)
class Services:
    """What is served."""

    jobs: JobService
    workers: WorkerService
    webhooks: WebhookService


def build(listen: str, serving: Serving, services: Services, *, share_port: bool) -> GrpcServer:
    """Return a server, bound to its address; raises CannotListenError."""
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(share_port))))
    server.add_generic_rpc_handlers(
        (
            serving.handler(JOB_SERVICE, services.jobs),
            serving.handler(WORKER_SERVICE, services.workers),
            serving.handler(WEBHOOK_SERVICE, services.webhooks),
        )
    )
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {listen}: is the port taken?") from error
    return GrpcServer(server, servicer, port)
