"""The findings of a health check as a message of the contract."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from jobledger.v1 import system_health_pb2 as api

from jobledger_service import VERSION
from jobledger_service.core.api.convert import MICROS, duration, timestamp

from .checker import Health
from .rules import Status, Vitals

_STATUSES: Final = {status: api.SystemStatus.Value(f"SYSTEM_STATUS_{status.name}") for status in Status}


def system_health(found: Health, database_kind: str, start_time: int) -> api.SystemHealth:
    """Return the findings with the server's constants; `start_time` is in microseconds."""
    vitals = found.vitals
    return api.SystemHealth(
        status=_STATUSES[found.status],
        reasons=[finding.reason for finding in found.findings],
        check_time=timestamp(found.time),
        version=VERSION,
        start_time=timestamp(start_time),
        database=_database(vitals, database_kind),
        committer=_committer(vitals),
        feed=api.FeedHealth(position=vitals.feed_position, lag=vitals.feed_lag, watchers=vitals.watchers),
        active_workers=vitals.workers,
        replicas=[api.Replica(name=one.name, version=one.version) for one in vitals.store.replicas]
        if vitals.store
        else (),
        webhooks=_webhooks(vitals),
        components=[
            api.ComponentHealth(name=name, problem=one.problem, check_time=timestamp(one.check_time))
            for name, one in vitals.components.items()
        ],
    )


def _webhooks(vitals: Vitals) -> api.WebhookHealth | None:
    store = vitals.store
    if store is None:
        return None
    age = _seconds(vitals.delivery_age)
    return api.WebhookHealth(pending=store.deliveries, oldest_age=age, dead=store.dead_deliveries)


def _seconds(value: float | None) -> Duration | None:
    return None if value is None else duration(round(value * MICROS))


def _database(vitals: Vitals, kind: str) -> api.DatabaseHealth:
    if vitals.store is None or vitals.latency is None:
        return api.DatabaseHealth(kind=kind, reachable=False)
    return api.DatabaseHealth(
        kind=kind,
        reachable=True,
        latency=_seconds(vitals.latency),
        schema_version=vitals.store.schema_version,
        size_bytes=vitals.store.size,
        disk_free_bytes=vitals.store.disk_free,
        label_indexes=[
            api.LabelIndex(name=name, ready=ready) for name, ready in sorted(vitals.store.label_indexes.items())
        ],
    )


def _committer(vitals: Vitals) -> api.CommitterHealth:
    return api.CommitterHealth(
        queued=vitals.queued,
        queue_limit=vitals.queue_limit,
        last_batch_size=vitals.last_batch,
        last_commit_duration=_seconds(vitals.last_seconds),
        last_commit_age=_seconds(vitals.last_age),
        current_commit_duration=_seconds(vitals.current_commit_duration),
    )
