"""The metrics of the server's work: commits, watches, chunks, duties."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.committer import Batch, Committer
from jobledger_service.core.ledger.feed.live_feed import LiveFeed
from jobledger_service.core.model.change import ChangeType
from jobledger_service.core.model.limit_errors import QUEUE_BOUNDS
from jobledger_service.transport.in_flight import InFlight
from jobledger_service.transport.refusals import IN_FLIGHT_BOUNDS

COMMANDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class _Count(Collector):
    """A counter that is kept elsewhere, as a plain number."""

    def __init__(self, name: str, sentence: str, ask: Callable[[], int]) -> None:
        self._name = name
        self._sentence = sentence
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted up to now."""
        yield CounterMetricFamily(self._name, self._sentence, value=self._ask())


class WorkMetrics:
    """Counts work, and reads current values at a scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._batch = Histogram(
            "jobledger_commit_batch_commands",
            "Commands that one commit carried out.",
            buckets=COMMANDS,
            registry=registry,
        )
        self._commit = Histogram(
            "jobledger_commit_duration_seconds",
            "One transaction, from its first statement to its callers' answers.",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        changes = Counter(
            "jobledger_changes",
            "What happened to jobs and chunks, as the ledger tells it.",
            ("change",),
            registry=registry,
        )
        self._changes = {change: changes.labels(change) for change in ChangeType}
        self._events = Counter("jobledger_events", "Ledger entries that this process committed.", registry=registry)
        self.merged = Counter(
            "jobledger_watch_events_merged",
            "Events that a slow watcher got within the message of a later one.",
            registry=registry,
        )
        refused = Counter(
            "jobledger_calls_refused",
            "Calls refused because too much waits, by the bound that was reached.",
            ("bound",),
            registry=registry,
        )
        self._refused = {bound: refused.labels(bound) for bound in (*QUEUE_BOUNDS, *IN_FLIGHT_BOUNDS)}
        self._unreadable = Counter(
            "jobledger_unreadable_rows",
            "Times that a row which cannot be read or shown was set aside; the log names each.",
            ("place",),
            registry=registry,
        )
        duty = ("duty",)
        self._duties = Counter("jobledger_duty_runs", "Times that a duty was done.", duty, registry=registry)
        self._failures = Counter("jobledger_duty_failures", "Times that a duty failed.", duty, registry=registry)

    def show(self, committer: Committer, feed: LiveFeed, calls: InFlight) -> None:
        """Show waiting work and watchers, as they are at each scrape."""
        self._gauge("commit_queue_depth", "Writes that wait.", lambda: committer.queued)
        self._gauge("commit_queue_limit", "Writes that may wait before more are refused.", lambda: committer.limit)
        self._gauge("commit_queue_bytes", "Bytes of their requests.", lambda: committer.queued_bytes)
        self._gauge("calls_in_flight", "Reads and writes that are in flight.", lambda: calls.calls)
        self._gauge("request_bytes", "Bytes counted for the requests in flight.", lambda: calls.size)
        self._gauge("watchers", "Watches that are open.", lambda: feed.watchers)
        self._gauge("watch_queue_bytes", "Bytes of entries that wait for watches.", lambda: feed.counts.queued_bytes)
        self._count("watch_filter_evaluations", "Filters applied to new entries.", lambda: feed.counts.evaluations)
        self._count("watch_wakeups", "New entries handed to watches.", lambda: feed.counts.wakeups)
        self._count("watch_history_events", "Stored events read for watches that lag.", lambda: feed.counts.history)
        self._gauge("feed_position", "The newest entry that watchers were offered.", lambda: feed.position)

    def _gauge(self, name: str, sentence: str, ask: Callable[[], float]) -> None:
        Gauge(f"jobledger_{name}", sentence, registry=self._registry).set_function(ask)

    def _count(self, name: str, sentence: str, ask: Callable[[], int]) -> None:
        self._registry.register(_Count(f"jobledger_{name}", sentence, ask))

    def committed(self, commit: Commit) -> None:
        """Count the changes of a commit."""
        self._events.inc(len(commit.entries))
        for (_, change), count in commit.changes.items():
            self._changes[change].inc(count)

    def measured(self, batch: Batch) -> None:
        """Time a commit."""
        self._batch.observe(batch.commands)
        self._commit.observe(batch.seconds)

    def refused(self, bound: str) -> None:
        """Count a call that was refused because too much waits."""
        self._refused[bound].inc()

    def unreadable(self, place: str) -> None:
        """Count a row that was set aside."""
        self._unreadable.labels(place).inc()

    def duty(self, name: str, succeeded: bool) -> None:  # noqa: FBT001  the form of perform
        """Count a duty that was done, and whether it failed."""
        self._duties.labels(name).inc()
        self._failures.labels(name).inc(not succeeded)
