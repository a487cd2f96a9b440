"""Facts about a database, for the health of the server."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.micros import Micros

MAX_COUNTED_DELIVERIES: Final = 10_000
"""The maximum count of waiting deliveries, and of dead ones."""


class Replica(MsgStruct, frozen=True):
    """A server that is connected to the database."""

    name: str
    version: str


class ComponentKind(StrEnum):
    """What a component is."""

    RATE_LIMIT_STORE = "RATE_LIMIT_STORE"
    ARTIFACT_STORE = "ARTIFACT_STORE"


class ComponentState(StrEnum):
    """How a component was when it was last checked."""

    UNKNOWN = "UNKNOWN"
    WORKING = "WORKING"
    FAILING = "FAILING"


class Component(MsgStruct, frozen=True):
    """Something else that the server depends on, as it was when it was last checked, in microseconds since 1970."""

    kind: ComponentKind
    check_time: Micros | None = None
    """None before the first check."""
    problem: str = ""
    """Why it does not work; empty when it does."""

    @property
    def state(self) -> ComponentState:
        """How it was then."""
        if self.check_time is None:
            return ComponentState.UNKNOWN
        return ComponentState.FAILING if self.problem else ComponentState.WORKING


class DeliveryCounts(MsgStruct, frozen=True):
    """The waiting webhook deliveries and the dead ones that are kept, each up to the maximum."""

    waiting: int = 0
    oldest_time: int | None = None
    """When the oldest waiting one was recorded, in microseconds since 1970."""
    dead: int = 0


NO_DELIVERIES: Final = DeliveryCounts()


class StoreVitals(MsgStruct, frozen=True):
    """Facts about the database: sizes in bytes, the newest position; `disk_free` is None where it is unknown."""

    position: int
    schema_version: str
    size: int
    disk_free: int | None = None
    replicas: Sequence[Replica] = ()
    jobs: Mapping[str, int] = {}
    """The number of jobs by state."""
    deliveries: DeliveryCounts = NO_DELIVERIES
    label_indexes: Mapping[str, bool] = {}
    """The labels that are indexed, and whether each index has all jobs."""
    writer_level: int = 0
    """The lowest writer level that may write to the database."""
