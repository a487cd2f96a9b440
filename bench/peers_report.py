"""What a run beside the peers found, as tables and as JSON; ratios are of the same round."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .report import rows, write_json

FASTEST: Final = "pgqueuer"
"""The queue that Jobledger is compared with."""
QUEUE_HEADS: Final = (
    *("4 workers", "chunks/s", "min to max", "to pgqueuer", "min to max"),
    *("CPU µs", "user", "kernel", "PostgreSQL", "caller", "all"),
)
ETCD_HEADS: Final = (
    *("call or watch", "load", "floor/s", "ours/s", "etcd/s", "ratio", "min to max", "p50", "etcd"),
    *("CPU µs", "user", "kernel", "etcd", "user", "kernel", "ratio", "floor"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure: what was seen of each contender in each round."""

    name: str
    load: int
    seen: dict[str, list[dict[str, Any]]]

    def values(self, contender: str, what: str) -> list[float]:
        """Return one figure of each round."""
        return [measured[what] for measured in self.seen[contender]]

    def median(self, contender: str, what: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.values(contender, what))

    def ratios(self, what: str, contender: str, to: str) -> list[float]:
        """Return the ratio of each round."""
        pairs = zip(self.values(contender, what), self.values(to, what), strict=True)
        return [ours / max(other, 0.1) for ours, other in pairs]


def spread(values: list[float], form: str) -> tuple[str, str]:
    """Return the median, and the smallest and largest value."""
    return (format(statistics.median(values), form), f"{min(values):{form}} to {max(values):{form}}")


def queue_table(claims: Measured) -> str:
    """Return the table of queues; the ratio is to the faster one of pgqueuer's settings."""
    settings = [contender for contender in claims.seen if contender.startswith(FASTEST)]
    fastest = max(settings, key=lambda contender: claims.median(contender, "rate"))
    lines = [_queue(claims, contender, fastest) for contender in claims.seen]
    return "Claim and complete on PostgreSQL: chunks or jobs\n" + rows(QUEUE_HEADS, lines)


def _queue(claims: Measured, contender: str, fastest: str) -> tuple[str, ...]:
    user, kernel, postgresql, caller = (
        claims.median(contender, f"{part}_us") for part in ("user", "kernel", "postgresql", "generator")
    )
    every = (user + kernel, user, kernel, postgresql, caller, user + kernel + postgresql + caller)
    return (
        contender,
        *spread(claims.values(contender, "rate"), ",.0f"),
        *spread(claims.ratios("rate", contender, fastest), ".2f"),
        *(f"{each:,.0f}" for each in every),
    )


def etcd_table(calls: list[Measured]) -> str:
    """Return the table beside etcd; the ratios are ours to etcd's."""
    title = "Beside etcd: GetJob and Range, Heartbeat and Put, WatchJob and Watch; p50 in ms"
    return f"{title}\n" + rows(ETCD_HEADS, [_call(call) for call in calls])


def _call(call: Measured) -> tuple[str, ...]:
    p50 = [f"{call.median(side, 'p50'):.1f}" if "p50" in call.seen[side][0] else "" for side in ("jobledger", "etcd")]
    cpu = [
        f"{call.median(side, part):,.0f}"
        for side in ("jobledger", "etcd")
        for part in ("server_us", "user_us", "kernel_us")
    ]
    return (
        call.name,
        f"{call.load:,}",
        *(f"{call.median(side, 'rate'):,.0f}" for side in ("floor", "jobledger", "etcd")),
        *spread(call.ratios("rate", "jobledger", "etcd"), ".2f"),
        *p50,
        *cpu,
        f"{statistics.median(call.ratios('server_us', 'jobledger', 'etcd')):.2f}",
        f"{call.median('floor', 'server_us'):,.0f}",
    )


def write(path: Path, about: dict[str, Any], measured: list[Measured]) -> None:
    """Write the JSON."""
    write_json(path, about | {"measures": [asdict(measure) for measure in measured]})
