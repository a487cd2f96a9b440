"""GetSystemHealth, a method of AdminService, and the findings of a check as its message."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from jobledger.v1 import system_health_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service import VERSION
from jobledger_service.core.api.convert import MICROS, duration, maker, timestamp
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.model.history.vitals import Component
from jobledger_service.core.model.micros import Micros
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .checker import Health, HealthChecker
from .rules import Status, Vitals

_STATUSES: Final = {status: api.SystemStatus.Value(f"SYSTEM_STATUS_{status.name}") for status in Status}

METHODS: Final = (Method(ADMIN_SERVICE, "GetSystemHealth", Role.ADMIN, Kind.READ, reserved=True),)


def system_health(health: Health, database_kind: str, start_time: Micros) -> api.SystemHealth:
    """Return the findings with the server's constants; `start_time` is in microseconds."""
    vitals = health.vitals
    return api.SystemHealth(
        status=_STATUSES[health.status],
        reasons=[finding.reason for finding in health.findings],
        check_time=timestamp(health.time),
        version=VERSION,
        start_time=timestamp(start_time),
        database=_database(health, database_kind),
        committer=_committer(vitals),
        feed=api.FeedHealth(position=vitals.feed_position, lag=vitals.feed_lag, watchers=vitals.watchers),
        active_workers=vitals.workers,
        replicas=[api.Replica(name=replica.name, version=replica.version) for replica in vitals.store.replicas]
        if vitals.store
        else (),
        webhooks=_webhooks(vitals),
        components=[_component(name, component) for name, component in sorted(vitals.components.items())],
    )


def _component(name: str, component: Component) -> api.ComponentHealth:
    return api.ComponentHealth(
        name=name,
        problem=component.problem,
        check_time=None if component.check_time is None else timestamp(component.check_time),
        kind=api.ComponentKind.Value(f"COMPONENT_KIND_{component.kind}"),
        state=api.ComponentState.Value(f"COMPONENT_STATE_{component.state}"),
    )


def _webhooks(vitals: Vitals) -> api.WebhookHealth | None:
    store = vitals.store
    if store is None:
        return None
    age = _seconds(vitals.delivery_age)
    return api.WebhookHealth(pending=store.deliveries.waiting, oldest_age=age, dead=store.deliveries.dead)


def _seconds(value: float | None) -> Duration | None:
    return None if value is None else duration(round(value * MICROS))


def _database(health: Health, kind: str) -> api.DatabaseHealth:
    vitals, age = health.vitals, health.vitals.lost_age
    lost_time = None if age is None else timestamp(Micros(health.time - round(age * MICROS)))
    if vitals.store is None or vitals.latency is None:
        return api.DatabaseHealth(kind=kind, reachable=False, lost_positions=vitals.lost_positions, lost_time=lost_time)
    return api.DatabaseHealth(
        kind=kind,
        reachable=True,
        lost_positions=vitals.lost_positions,
        lost_time=lost_time,
        latency=_seconds(vitals.latency),
        schema_version=vitals.store.schema_version,
        size_bytes=vitals.store.size,
        disk_free_bytes=vitals.store.disk_free,
        label_indexes=[
            api.LabelIndex(name=name, ready=ready) for name, ready in sorted(vitals.store.label_indexes.items())
        ],
    )


_committer: Final = maker(Vitals, api.CommitterHealth, Duration=_seconds)


class HealthCalls(MsgStruct, frozen=True):
    """The method of AdminService about the health of this server, which runs since `start_time`."""

    checker: HealthChecker
    database_kind: str
    start_time: Micros

    async def GetSystemHealth(
        self,
        request: api.GetSystemHealthRequest,  # noqa: ARG002  it asks nothing more
        caller: Caller,  # noqa: ARG002  it is the same for all
    ) -> api.GetSystemHealthResponse:
        health = system_health(await self.checker.check(), self.database_kind, self.start_time)
        return api.GetSystemHealthResponse(health=health)
