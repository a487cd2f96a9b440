"""The metrics of the last health check: unknown values are absent."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jobledger_service.core.model.states import JobState

from .checker import HealthChecker
from .rules import Vitals

Reading = tuple[str, str, float | None]


class VitalsCollector(Collector):
    """Shows the last check; a scrape queries nothing."""

    def __init__(self, checker: HealthChecker) -> None:
        self._checker = checker

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge for each known value."""
        health = self._checker.latest
        if health is None:
            return
        yield GaugeMetricFamily("jobledger_health_status", "0 healthy, 1 degraded, 2 unhealthy.", value=health.status)
        yield from _jobs(health.vitals)
        yield _components(health.vitals)
        for name, sentence, value in _readings(health.vitals):
            if value is not None:
                yield GaugeMetricFamily(f"jobledger_{name}", sentence, value=value)


def _jobs(vitals: Vitals) -> Iterator[GaugeMetricFamily]:
    if vitals.store is not None:
        family = GaugeMetricFamily("jobledger_jobs", "Jobs that there are, by state.", labels=("state",))
        for state in JobState:
            family.add_metric((state,), vitals.store.jobs.get(state, 0))
        yield family


def _components(vitals: Vitals) -> GaugeMetricFamily:
    sentence = "1 when what the server depends on, the database or a store of artifacts, works; else 0."
    family = GaugeMetricFamily("jobledger_component_up", sentence, labels=("component",))
    family.add_metric(("database",), float(vitals.store is not None))
    for name, component in vitals.components.items():
        if component.check_time is not None:
            family.add_metric((name,), float(not component.problem))
    return family


def _readings(vitals: Vitals) -> Iterator[Reading]:
    yield "feed_lag_positions", "Entries that the ledger is ahead of this process's watchers.", vitals.feed_lag
    yield "workers_active", "Workers that claimed or reported here within a minute.", vitals.workers
    busy = vitals.current_commit_duration or 0
    yield "commit_busy_seconds", "How long the commit that runs has been running; 0 without one.", busy
    ahead = "How far the ledger's time is ahead of the clock that it follows; below 0 after a jump of that clock."
    yield "clock_ahead_seconds", ahead, vitals.clock_ahead
    yield "database_lost_positions", "Acknowledged changes that an exchanged database lost.", vitals.lost_positions
    yield "database_stale", "1 while the database is an older one than this server has seen.", vitals.database_is_stale
    store = vitals.store
    yield "database_up", "1 when the database answered, 0 when it did not.", float(store is not None)
    if store is None:
        return
    yield "database_latency_seconds", "How long a small read took.", vitals.latency
    yield "database_size_bytes", "Room that the database takes.", store.size
    yield "disk_free_bytes", "Room left on the disk of the SQLite file.", store.disk_free
    yield "replicas_connected", "Servers connected to the database.", len(store.replicas) or 1
    waited, dead = vitals.delivery_age or 0, store.deliveries.dead
    yield "webhook_deliveries_pending", "Webhook deliveries that wait, counted up to 10,000.", store.deliveries.waiting
    yield "webhook_oldest_pending_seconds", "How long the oldest of them has waited; 0 without one.", waited
    yield "webhook_deliveries_dead", "Webhook deliveries that were given up and are kept, counted up to 10,000.", dead
