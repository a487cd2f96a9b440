"""The metrics by kind, of a bounded number of kinds; those of all others are together under one label."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import nan
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobledger_service.core.model.change import ChangeType
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.service_kinds import ALL_KINDS
from jobledger_service.core.store.kind_figures import KindFigures

OTHER: Final = "(other)"
"""Stands for all kinds that are not shown; no kind has parentheses."""
_PREFIX: Final = "jobledger_kind_"
_GAUGES: Final = (
    ("jobs_queued", "Jobs of a kind that are QUEUED."),
    ("chunks_pending", "Chunks of a kind that wait for a worker, also those on hold."),
    ("chunks_processing", "Chunks of a kind that workers hold."),
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


class KindMetrics(Collector):
    """Shows the figures that were read last, and counts the changes of the kinds that these show."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._figures: Mapping[str, KindFigures] = {}
        self._counts: dict[str, Counter[str]] = {OTHER: Counter()}

    def show(self, figures: Mapping[str, KindFigures]) -> None:
        """Show these figures; a kind that is not among them is one of the others from now on."""
        self._figures = figures
        kinds = [kind for kind in figures if kind != ALL_KINDS]
        self._counts = {kind: self._counts.get(kind, Counter()) for kind in (*kinds, OTHER)}

    def committed(self, changes: Mapping[tuple[str, ChangeType], int]) -> None:
        """Count changes, by kind and type."""
        for (kind, change), count in changes.items():
            if (name := _COUNTED.get(change)) is not None:
                self._counts.get(kind, self._counts[OTHER])[name] += count

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each metric."""
        shown = {kind: one for kind, one in self._figures.items() if kind != ALL_KINDS}
        total = self._figures.get(ALL_KINDS, KindFigures())
        for name, sentence in _GAUGES:
            family = GaugeMetricFamily(f"{_PREFIX}{name}", sentence, labels=("kind",))
            for kind, one in shown.items():
                family.add_metric((kind,), getattr(one, name))
            family.add_metric((OTHER,), getattr(total, name) - sum(getattr(one, name) for one in shown.values()))
            yield family
        yield self._oldest(shown)
        for name, sentence, _ in _COUNTERS:
            counter = CounterMetricFamily(f"{_PREFIX}{name}", sentence, labels=("kind",))
            for kind, counts in self._counts.items():
                counter.add_metric((kind,), counts[name])
            yield counter

    def _oldest(self, shown: Mapping[str, KindFigures]) -> GaugeMetricFamily:
        sentence = (
            "How long the oldest job of a kind has waited that may be claimed; 0 while none waits, NaN of other kinds."
        )
        family, now = GaugeMetricFamily(f"{_PREFIX}oldest_waiting_seconds", sentence, labels=("kind",)), self._clock()
        for kind, one in shown.items():
            waited = 0 if one.waiting_since is None else max(now - one.waiting_since, 0)
            family.add_metric((kind,), waited / SECOND)
        family.add_metric((OTHER,), nan)
        return family
