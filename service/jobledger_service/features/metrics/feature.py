"""All metrics of one process, and the address where Prometheus reads them."""

from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from math import nan
from typing import Final

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from jobledger_service import VERSION
from jobledger_service.core.duty import MEASURE_SECONDS, Duty
from jobledger_service.core.kernel import Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.refusals.limit_errors import QUEUE_BOUNDS
from jobledger_service.core.model.service_kinds import ALL_KINDS
from jobledger_service.core.read.kind_figures import KindFigures, KindFiguresReader
from jobledger_service.core.watch.live_feed import LiveFeed
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.committer import Batch, Committer
from jobledger_service.transport.limits.in_flight import InFlight
from jobledger_service.transport.metrics import CallMetrics
from jobledger_service.transport.refusals import IN_FLIGHT_BOUNDS
from jobledger_service.transport.server import CannotListenError

from .observations import SENTENCES, Observations

log = structlog.get_logger(__name__)

COMMANDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

OTHER: Final = "(other)"
"""Stands for all kinds that are not shown; no kind has parentheses."""
_PREFIX: Final = "jobledger_kind_"
_GAUGES: Final = (
    ("jobs_queued", "Jobs of a kind that are QUEUED."),
    ("chunks_pending", "Chunks of a kind that wait for a worker, also those on hold."),
    ("chunks_processing", "Chunks of a kind that workers hold."),
    ("artifact_bytes", "Bytes of what the artifacts of a kind's jobs point at, as far as workers reported it."),
)
_COUNTERS: Final = (
    ("claims", "Chunks of a kind that were claimed, in commits of this process.", {ChangeType.CLAIMED}),
    (
        "attempts_failed",
        "Attempts at chunks of a kind that failed, timed out or lost their lease, in commits of this process.",
        {ChangeType.CHUNK_FAILED, ChangeType.ATTEMPT_TIMED_OUT, ChangeType.LEASE_EXPIRED},
    ),
)
_COUNTED: Final = {change: name for name, _, changes in _COUNTERS for change in changes}


class CurrentWork(Collector):
    """Shows waiting work and watchers, as they are at each scrape."""

    def __init__(self, committer: Committer, feed: LiveFeed, calls: InFlight) -> None:
        self._committer = committer
        self._feed = feed
        self._calls = calls

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each value."""
        committer, feed, calls = self._committer, self._feed, self._calls
        for name, sentence, number in (
            ("commit_queue_depth", "Writes that wait.", committer.queued),
            ("commit_queue_limit", "Writes that may wait before more are refused.", committer.limit),
            ("commit_queue_bytes", "Bytes of their requests.", committer.queued_bytes),
            ("calls_in_flight", "Reads and writes that are in flight.", calls.calls),
            ("request_bytes", "Bytes counted for the requests in flight.", calls.bytes.total),
            ("unsent_bytes", "Bytes of replies and messages that are being sent.", calls.unsent.total),
            ("watchers", "Watches that are open.", feed.watchers),
            ("watch_queue_bytes", "Bytes of entries that wait for watches.", feed.counts.queued_bytes),
            ("feed_position", "The newest entry that watchers were offered.", feed.position),
        ):
            yield GaugeMetricFamily(f"jobledger_{name}", sentence, value=number)
        for name, sentence, number in (
            ("watch_filter_evaluations", "Filters applied to new entries.", feed.counts.evaluations),
            ("watch_wakeups", "New entries handed to watches.", feed.counts.wakeups),
            ("watch_history_events", "Stored events read for watches that lag.", feed.counts.history),
        ):
            yield CounterMetricFamily(f"jobledger_{name}", sentence, value=number)


class _Counted:
    """What commits of this process did to the jobs of one kind."""

    def __init__(self) -> None:
        self.changes = Counts[str]()
        self.observations = {measure: Observations(measure) for measure in SENTENCES}


class KindMetrics(Collector):
    """Shows the figures that were read last, and counts what commits do to the kinds that these show."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._figures: Mapping[str, KindFigures] = {}
        self._counted = {OTHER: _Counted()}

    def show(self, figures: Mapping[str, KindFigures]) -> None:
        """Show these figures; a kind that is not among them is one of the others from now on."""
        self._figures = figures
        kinds = [kind for kind in figures if kind != ALL_KINDS]
        self._counted = {kind: self._counted.get(kind) or _Counted() for kind in (*kinds, OTHER)}

    def committed(self, commit: Commit) -> None:
        """Count changes by kind and type, and what they took."""
        for (kind, change), count in commit.changes.items():
            if (name := _COUNTED.get(change)) is not None:
                self._of(kind).changes[name] += count
        for kind, measure, value in commit.measures:
            self._of(kind).observations[measure].observe(value)

    def _of(self, kind: str) -> _Counted:
        return self._counted.get(kind) or self._counted[OTHER]

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each metric."""
        shown = {kind: kind_figures for kind, kind_figures in self._figures.items() if kind != ALL_KINDS}
        total = self._figures.get(ALL_KINDS, KindFigures())
        for name, sentence in _GAUGES:
            family = GaugeMetricFamily(f"{_PREFIX}{name}", sentence, labels=("kind",))
            for kind, kind_figures in shown.items():
                family.add_metric((kind,), getattr(kind_figures, name))
            family.add_metric(
                (OTHER,), getattr(total, name) - sum(getattr(kind_figures, name) for kind_figures in shown.values())
            )
            yield family
        yield self._oldest(shown)
        for name, sentence, _ in _COUNTERS:
            counter = CounterMetricFamily(f"{_PREFIX}{name}", sentence, labels=("kind",))
            for kind, counted in self._counted.items():
                counter.add_metric((kind,), counted.changes[name])
            yield counter
        for observation, sentence in SENTENCES.items():
            histogram = HistogramMetricFamily(f"{_PREFIX}{observation}", sentence, labels=("kind",))
            for kind, counted in self._counted.items():
                observations = counted.observations[observation]
                histogram.add_metric((kind,), observations.buckets(), observations.sum)
            yield histogram

    def _oldest(self, shown: Mapping[str, KindFigures]) -> GaugeMetricFamily:
        sentence = (
            "How long the oldest job of a kind has waited that may be claimed; 0 while none waits, NaN of other kinds."
        )
        family, now = GaugeMetricFamily(f"{_PREFIX}oldest_waiting_seconds", sentence, labels=("kind",)), self._clock()
        for kind, kind_figures in shown.items():
            waited = 0 if kind_figures.waiting_since is None else max(now - kind_figures.waiting_since, 0)
            family.add_metric((kind,), waited / SECOND)
        family.add_metric((OTHER,), nan)
        return family


class Metrics:
    """Made once a process, before the kernel: what is counted is counted from the start, whether or not it is read."""

    def __init__(self, database: str) -> None:
        # Without a second series for each, which says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        build = Info("jobledger_build", "What runs here.", registry=registry)
        build.info({"version": VERSION, "database": database})
        self.calls = CallMetrics()
        registry.register(self.calls)
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._batch = histogram(
            "jobledger_commit_batch_commands", "Commands that one commit carried out.", buckets=COMMANDS
        )
        self._commit = histogram(
            "jobledger_commit_duration_seconds",
            "One transaction, from its first statement to its callers' answers.",
            buckets=COMMIT_SECONDS,
        )
        changes = counter("jobledger_changes", "What happened to jobs and chunks, as the ledger tells it.", ("change",))
        self._changes = {change: changes.labels(change) for change in ChangeType}
        self._events = counter("jobledger_events", "Ledger entries that this process committed.")
        self.merged = counter(
            "jobledger_watch_events_merged", "Events that a slow watcher got within the message of a later one."
        )
        refused = counter(
            "jobledger_calls_refused",
            "Calls refused because too much waits, by the bound that was reached.",
            ("bound",),
        )
        self._refused = {bound: refused.labels(bound) for bound in (*QUEUE_BOUNDS, *IN_FLIGHT_BOUNDS)}
        self._unreadable = counter(
            "jobledger_unreadable_rows",
            "Times that a row which cannot be read or shown was set aside; the log names each.",
            ("place",),
        )
        self._duties = counter("jobledger_duty_runs", "Times that a duty was done.", ("duty",))
        self._failures = counter("jobledger_duty_failures", "Times that a duty failed.", ("duty",))

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

    def open(self, kernel: Kernel) -> ServerParts:
        """Return what metrics add to a server; raises CannotListenError."""
        work = CurrentWork(kernel.committer, kernel.feed, kernel.calls.in_flight)
        settings, listen = kernel.settings, kernel.settings.metrics_listen
        if not listen:
            return ServerParts(on_commit=self.committed, collectors=[work])
        reader = KindFiguresReader(kernel.database.dialect)
        kinds = KindMetrics(kernel.clock)

        def read() -> dict[str, KindFigures]:
            with kernel.database.read() as connection:
                return reader.read(connection, settings.metrics_kinds)

        async def show_kinds() -> bool:
            kinds.show(await kernel.readers.for_server(read))
            return False

        def on_commit(commit: Commit) -> None:
            self.committed(commit)
            kinds.committed(commit)

        return ServerParts(
            duties=[Duty("kind metrics", show_kinds, MEASURE_SECONDS)],
            on_commit=on_commit,
            collectors=[work, kinds],
            close=self._listen(*listen.rsplit(":", 1)),
        )

    def _listen(self, host: str, port: str) -> Callable[[], Awaitable[None]]:
        """Answer GET /metrics, on a thread of its own; return what ends that."""
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), self.registry)
        except OSError as error:
            raise CannotListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        log.info("metrics", address=f"{host}:{server.server_port}")

        async def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close
