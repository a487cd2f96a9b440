"""What a run of isolation found, as tables."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .report import rows

CALLS: Final = ("CreateJob", "GetJob", "Heartbeat", "ListJobs", "watch")
GOT: Final = ("attack", "attacker's OK/s", "other/s", "statuses", "bystander's calls", "errors", "server's MiB")


@dataclass(frozen=True, slots=True)
class Pair:
    """What the bystander saw alone, and right after that beside an attack; and what the attacker got."""

    attack: str
    alone: dict[str, Any]
    beside: dict[str, Any]
    attacker: dict[str, Any]
    rss_kib: int


def errors(pairs: Sequence[Pair]) -> int:
    """Return how many errors the bystander had, alone or beside."""
    return sum(sum(seen["errors"].values()) for pair in pairs for seen in (pair.alone, pair.beside))


def table(pairs: Sequence[Pair]) -> str:
    """Return the tables: latencies by percentile, then what the attacker got."""
    parts = [
        f"Bystander's {p} beside each attack in ms, and its ratio to alone\n{_latencies(p, pairs)}"
        for p in ("p50", "p99")
    ]
    got = rows(GOT, [_got(pair) for pair in pairs])
    return "\n\n".join([*parts, f"What the attacker got, and what else the bystander did\n{got}"])


def _latencies(percentile: str, pairs: Sequence[Pair]) -> str:
    alone = [f"{statistics.median(_seen(pair.alone, call, percentile) for pair in pairs):.1f}       " for call in CALLS]
    beside = [(pair.attack, *(_beside(pair, call, percentile) for call in CALLS)) for pair in pairs]
    return rows(("attack", *CALLS), [("alone, median", *alone), *beside])


def _beside(pair: Pair, call: str, percentile: str) -> str:
    alone, beside = (_seen(seen, call, percentile) for seen in (pair.alone, pair.beside))
    return f"{beside:.1f}  {f'×{beside / alone:.1f}':>5}"


def _seen(seen: dict[str, Any], call: str, percentile: str) -> float:
    """Return a percentile; what never came has none."""
    seconds: float = seen["calls"].get(call, {}).get(percentile, float("nan"))
    return seconds


def _got(pair: Pair) -> tuple[str, ...]:
    codes, seconds = dict(pair.attacker["codes"]), pair.attacker["seconds"]
    others = sum(count for code, count in codes.items() if code != "OK")
    return (
        pair.attack,
        f"{codes.get('OK', 0) / seconds:,.0f}",
        f"{others / seconds:,.0f}",
        ", ".join(sorted(code for code in codes if code != "OK")) or "-",
        f"{sum(call['count'] for call in pair.beside['calls'].values()):,}",
        f"{sum(pair.beside['errors'].values())}",
        f"{pair.rss_kib / 1_024:,.0f}",
    )
