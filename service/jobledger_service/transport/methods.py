"""The requirements of each RPC: the one table of roles, and of the classes of limits."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .identity import Role

JOB_SERVICE: Final = "jobledger.v1.JobService"
WORKER_SERVICE: Final = "jobledger.v1.WorkerService"
ADMIN_SERVICE: Final = "jobledger.v1.AdminService"
WEBHOOK_SERVICE: Final = "jobledger.v1.WebhookService"
LIMIT_SERVICE: Final = "jobledger.v1.LimitService"
IMPORT_SERVICE: Final = "jobledger.v1.ImportService"
HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = "grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
CHANNELZ: Final = "grpc.channelz.v1.Channelz"
OPERATIONS: Final = "google.longrunning.Operations"


class Kind(StrEnum):
    """The class of a call for limits."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    """Stays open: counted when it is opened, and as long as it is open."""


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC; `service` has its package before it. One that `waits` stays open long, and ends when its key does.

    Without a role it needs no key: it is answered to everybody, also while the server drains.
    One that is `reserved` is let in when the owner's other calls are refused: it reports on held leases, or on health.
    """

    service: str
    name: str
    role: Role | None
    kind: Kind
    waits: bool = False
    reserved: bool = False
    full_name: str = field(init=False)
    """The name that the descriptor has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_name", f"{self.service}.{self.name}")


def _methods() -> Iterator[Method]:
    yield Method(JOB_SERVICE, "CreateJob", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "GetJob", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "BatchGetJobs", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "ListJobs", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "ListChunks", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "ListJobEvents", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "WatchJob", Role.CALLER, Kind.WATCH, waits=True)
    yield Method(JOB_SERVICE, "WatchJobs", Role.CALLER, Kind.WATCH, waits=True)
    yield Method(JOB_SERVICE, "CancelJob", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "RetryJob", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "UpdateJob", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "DeleteJob", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "GetJobStats", Role.CALLER, Kind.READ)
    yield Method(JOB_SERVICE, "ExportJobs", Role.CALLER, Kind.WATCH, waits=True)
    yield Method(JOB_SERVICE, "CancelJobs", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "RetryJobs", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "DeleteJobs", Role.CALLER, Kind.WRITE)
    yield Method(JOB_SERVICE, "UpdateJobPriorities", Role.CALLER, Kind.WRITE)
    yield Method(WORKER_SERVICE, "ClaimChunks", Role.WORKER, Kind.WRITE, waits=True)
    yield Method(WORKER_SERVICE, "ClaimChunk", Role.WORKER, Kind.WRITE)
    yield Method(WORKER_SERVICE, "Heartbeat", Role.WORKER, Kind.WRITE, reserved=True)
    yield Method(WORKER_SERVICE, "CompleteChunks", Role.WORKER, Kind.WRITE, reserved=True)
    yield Method(WORKER_SERVICE, "FailChunks", Role.WORKER, Kind.WRITE, reserved=True)
    yield Method(WORKER_SERVICE, "ReleaseChunks", Role.WORKER, Kind.WRITE, reserved=True)
    yield Method(WORKER_SERVICE, "WatchLeases", Role.WORKER, Kind.WATCH, waits=True)
    yield Method(ADMIN_SERVICE, "CreateApiKey", Role.ADMIN, Kind.WRITE)
    yield Method(ADMIN_SERVICE, "ListApiKeys", Role.ADMIN, Kind.READ)
    yield Method(ADMIN_SERVICE, "RevokeApiKey", Role.ADMIN, Kind.WRITE)
    yield Method(ADMIN_SERVICE, "RotateApiKey", Role.ADMIN, Kind.WRITE)
    yield Method(ADMIN_SERVICE, "GetUsage", Role.ADMIN, Kind.READ)
    yield Method(ADMIN_SERVICE, "GetSystemHealth", Role.ADMIN, Kind.READ, reserved=True)
    yield Method(WEBHOOK_SERVICE, "CreateWebhook", Role.CALLER, Kind.WRITE)
    yield Method(WEBHOOK_SERVICE, "GetWebhook", Role.CALLER, Kind.READ)
    yield Method(WEBHOOK_SERVICE, "ListWebhooks", Role.CALLER, Kind.READ)
    yield Method(WEBHOOK_SERVICE, "UpdateWebhook", Role.CALLER, Kind.WRITE)
    yield Method(WEBHOOK_SERVICE, "DeleteWebhook", Role.CALLER, Kind.WRITE)
    yield Method(WEBHOOK_SERVICE, "RotateWebhookSecret", Role.CALLER, Kind.WRITE)
    yield Method(WEBHOOK_SERVICE, "ListWebhookDeliveries", Role.CALLER, Kind.READ)
    yield Method(WEBHOOK_SERVICE, "RedeliverWebhook", Role.CALLER, Kind.WRITE)
    yield Method(WEBHOOK_SERVICE, "PingWebhook", Role.CALLER, Kind.WRITE)
    yield Method(LIMIT_SERVICE, "SetLimit", Role.ADMIN, Kind.WRITE)
    yield Method(LIMIT_SERVICE, "ListLimits", Role.CALLER, Kind.READ)
    yield Method(LIMIT_SERVICE, "DeleteLimit", Role.ADMIN, Kind.WRITE)
    yield Method(IMPORT_SERVICE, "ImportJobs", Role.ADMIN, Kind.WRITE, waits=True)
    for name in ("TopChannels", "Servers", "Server", "ServerSockets", "Channel", "Subchannel", "Socket"):
        yield Method(CHANNELZ, f"Get{name}", Role.ADMIN, Kind.READ)
    yield Method(OPERATIONS, "GetOperation", Role.CALLER, Kind.READ)
    yield Method(OPERATIONS, "ListOperations", Role.CALLER, Kind.READ)
    yield Method(OPERATIONS, "WaitOperation", Role.CALLER, Kind.WATCH, waits=True)
    yield Method(OPERATIONS, "CancelOperation", Role.CALLER, Kind.WRITE)
    yield Method(OPERATIONS, "DeleteOperation", Role.CALLER, Kind.WRITE)


_PUBLIC: Final = (
    Method(HEALTH, "Check", None, Kind.READ),
    Method(HEALTH, "Watch", None, Kind.WATCH),
    Method(REFLECTION, "ServerReflectionInfo", None, Kind.WATCH),
    Method(REFLECTION_V1ALPHA, "ServerReflectionInfo", None, Kind.WATCH),
)
METHODS: Final = {method.full_name: method for method in (*_methods(), *_PUBLIC)}
"""By the full name of the descriptor. A server does not start with a method that is not here."""
