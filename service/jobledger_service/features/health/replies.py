"""The findings of a health check as a message of the contract."""

from typing import Final

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
        webhooks=_webhooks(found),
        components=[
            api.ComponentHealth(name=name, problem=one.problem, check_time=timestamp(one.check_time))
            for name, one in vitals.components.items()
        ],
    )


def _webhooks(found: Health) -> api.WebhookHealth | None:
    store = found.vitals.store
    if store is None:
        return None
    age = None if store.oldest_delivery is None else duration(max(0, found.time - store.oldest_delivery))
    return api.WebhookHealth(pending=store.deliveries, oldest_age=age, dead=store.dead_deliveries)


def _database(vitals: Vitals, kind: str) -> api.DatabaseHealth:
    if vitals.store is None or vitals.latency is None:
        return api.DatabaseHealth(kind=kind, reachable=False)
    return api.DatabaseHealth(
        kind=kind,
        reachable=True,
        latency=duration(round(vitals.latency * MICROS)),
        schema_version=vitals.store.schema_version,
        size_bytes=vitals.store.size,
        disk_free_bytes=vitals.store.disk_free,
        label_indexes=[
            api.LabelIndex(name=name, ready=ready) for name, ready in sorted(vitals.store.label_indexes.items())
        ],
    )


def _committer(vitals: Vitals) -> api.CommitterHealth:
    message = api.CommitterHealth(
        queued=vitals.queued, queue_limit=vitals.queue_limit, last_batch_size=vitals.last_batch
    )
    for field, seconds in (
        ("last_commit_duration", vitals.last_seconds),
        ("last_commit_age", vitals.last_age),
        ("current_commit_duration", vitals.current_commit_duration),
    ):
        if seconds is not None:
            getattr(message, field).CopyFrom(duration(round(seconds * MICROS)))
    return message
