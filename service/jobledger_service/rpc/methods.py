"""What each RPC asks of its caller: the one table of roles, and of the classes that limits count by."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from jobledger_service.domain.access import Role


class Kind(StrEnum):
    """What a call does, as far as limits go."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    """Stays open."""


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC. One that `waits` stays open for long, and ends when the key that it was made with does."""

    service: str
    name: str
    role: Role
    kind: Kind
    waits: bool = False
    full_name: str = field(init=False)
    """The name that the descriptor has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "full_name", f"jobledger.v1.{self.service}.{self.name}")


def _methods() -> Iterator[Method]:
    yield Method("JobService", "CreateJob", Role.CALLER, Kind.WRITE)
    yield Method("JobService", "GetJob", Role.CALLER, Kind.READ)
    yield Method("JobService", "BatchGetJobs", Role.CALLER, Kind.READ)
    yield Method("JobService", "ListJobs", Role.CALLER, Kind.READ)
    yield Method("JobService", "ListChunks", Role.CALLER, Kind.READ)
    yield Method("JobService", "ListJobEvents", Role.CALLER, Kind.READ)
    yield Method("JobService", "WatchJob", Role.CALLER, Kind.WATCH, waits=True)
    yield Method("JobService", "WatchJobs", Role.CALLER, Kind.WATCH, waits=True)
    yield Method("JobService", "CancelJob", Role.CALLER, Kind.WRITE)
    yield Method("JobService", "RetryJob", Role.CALLER, Kind.WRITE)
    yield Method("JobService", "UpdateJob", Role.CALLER, Kind.WRITE)
    yield Method("JobService", "DeleteJob", Role.CALLER, Kind.WRITE)
    yield Method("WorkerService", "ClaimChunks", Role.WORKER, Kind.WRITE, waits=True)
    yield Method("WorkerService", "ClaimChunk", Role.WORKER, Kind.WRITE)
    yield Method("WorkerService", "Heartbeat", Role.WORKER, Kind.WRITE)
    yield Method("WorkerService", "CompleteChunks", Role.WORKER, Kind.WRITE)
    yield Method("WorkerService", "FailChunks", Role.WORKER, Kind.WRITE)
    yield Method("WorkerService", "ReleaseChunks", Role.WORKER, Kind.WRITE)
    yield Method("AdminService", "CreateApiKey", Role.ADMIN, Kind.WRITE)
    yield Method("AdminService", "ListApiKeys", Role.ADMIN, Kind.READ)
    yield Method("AdminService", "RevokeApiKey", Role.ADMIN, Kind.WRITE)
    yield Method("AdminService", "RotateApiKey", Role.ADMIN, Kind.WRITE)
    yield Method("AdminService", "GetUsage", Role.ADMIN, Kind.READ)


METHODS: Final = {method.full_name: method for method in _methods()}
"""By the full name of the descriptor. A server does not start with a method that is not here."""
