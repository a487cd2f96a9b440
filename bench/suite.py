"""The run: every measure in interleaved pairs, floor then Jobledger, several rounds, medians."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from . import h2load
from .databases import fresh
from .processes import Generator, Served, TaskError, floor, generator, jobledger, rss_kib

CASES: Final = (
    "GetJob",
    "ListJobs",
    "ListJobs-each",
    "BatchGetJobs-100",
    "BatchGetJobs-100-each",
    "Heartbeat-1",
    "Heartbeat-1-synced",
    "Heartbeat-50",
    "ClaimComplete-1",
    "ClaimComplete-50",
    "CompleteClaim-1",
    "CompleteClaim-50",
    "CreateJob",
    "CreateJob-200",
    "CreateJob-10000",
    "BatchCreateJobs-100",
)
CHUNKS: Final = {
    "Heartbeat-1": 1,
    "Heartbeat-1-synced": 1,
    "Heartbeat-50": 50,
    "ClaimComplete-1": 0.5,
    "ClaimComplete-50": 25,
    "CompleteClaim-1": 1,
    "CompleteClaim-50": 50,
    "CreateJob": 5,
    "CreateJob-200": 200,
    "CreateJob-10000": 10_000,
    "BatchCreateJobs-100": 500,
}
"""How many chunks one call reports on, claims and completes, or creates; ClaimComplete makes two calls for them."""
MAX_IN_FLIGHT: Final = {"Heartbeat-1-synced": 1, "CreateJob-200": 64, "CreateJob-10000": 1, "BatchCreateJobs-100": 8}
"""One caller alone, whose floor syncs each call; and large writes, more of which would wait longer than writes may."""
QUEUE_WAIT: Final = "5s"
"""No call is refused for its wait: what is measured is the cost of those that are carried out."""
WATCHES: Final = ("WatchJob", "WatchJobs")
SIDES: Final = ("floor", "jobledger")
SETTLE: Final = 1.0
MAX_LOGGED: Final = 4_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    store: str = "sqlite"
    seconds: float = 0.4
    warm: float = 0.2
    rounds: int = 5
    max_seconds: float = 5.0
    """After so long a measure begins no further round."""
    in_flight: Sequence[int] = (1, 64, 256)
    streams: Sequence[int] = (100, 1_000)
    seeded: int = 2_000
    only: str = ""
    generator: str = "python"

    def wants(self, name: str) -> bool:
        """Whether a measure was asked for, and the generator can make its calls."""
        able = self.generator == "python" or name in h2load.CASES
        return able and (self.only == name if self.only in CASES else self.only.lower() in name.lower())


QUICK: Final = Plan(seconds=0.25, warm=0.1, rounds=1, in_flight=(1, 64), seeded=1_000)


@dataclass(slots=True)
class Result:
    """One measure on both servers: the medians over the rounds, by server, and ours to the floor's in each round."""

    name: str
    load: int
    floor: dict[str, float]
    jobledger: dict[str, float]
    ratios: list[float]
    """Of the rates."""
    cpu_ratios: list[float]

    @property
    def ratio(self) -> float:
        """The median of the ratios of the rates."""
        return statistics.median(self.ratios)


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class Suite:
    """Both servers and the load generator, running."""

    def __init__(self, plan: Plan, load: Generator, servers: dict[str, Served]) -> None:
        self._plan = plan
        self._load = load
        self.servers = servers

    def calls(self) -> Iterator[Result]:
        """Measure unary calls."""
        plan = self._plan
        for case in filter(plan.wants, CASES):
            bound = MAX_IN_FLIGHT.get(case, max(plan.in_flight))
            for in_flight in (number for number in plan.in_flight if number <= bound):
                measured = self.once(case, in_flight)
                if in_flight == plan.in_flight[0]:
                    for side in SIDES:
                        measured(side, plan.warm)
                yield self._pairs(case, in_flight, measured)

    def watches(self) -> Iterator[Result]:
        """Measure fan-out."""
        plan = self._plan
        for watch in filter(plan.wants, WATCHES):
            for streams in plan.streams:
                yield self._pairs(watch, streams, self.once(watch, streams))
                self._load.do("close")

    def _pairs(self, name: str, load: int, measure: Callable[[str, float], dict[str, Any]]) -> Result:
        """Measure the floor and ours in turn."""
        seen: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        began = time.monotonic()
        while len(seen["floor"]) < self._plan.rounds and time.monotonic() - began < self._plan.max_seconds:
            for side in SIDES:
                seen[side].append(measure(side, self._plan.seconds))
        bare, ours = seen["floor"], seen["jobledger"]
        ratios = [b["rate"] / a["rate"] for a, b in zip(bare, ours, strict=True)]
        cpu = [b["server_us"] / max(a["server_us"], 0.1) for a, b in zip(bare, ours, strict=True)]
        result = Result(
            name,
            load,
            _medians(bare),
            _medians(ours),
            ratios,
            cpu,
        )
        _print(f"  {name}, {load}: {result.jobledger['rate']:,.0f}/s, {result.ratio:.2f} of the floor")
        return result

    def once(self, name: str, load: int) -> Callable[[str, float], dict[str, Any]]:
        """Prepare one measure, and return what carries it out on one server for so many seconds."""
        if name in WATCHES:
            self._load.do("open", watch=name, streams=load)
            return lambda side, seconds: self._load.do("deliveries", side=side, seconds=seconds, warm=self._plan.warm)
        self._load.do("prepare", case=name, in_flight=load)
        options = {"case": name, "in_flight": load, "generator": self._plan.generator}
        return lambda side, seconds: self._load.do("calls", side=side, seconds=seconds, **options)

    def idle(self) -> dict[str, float]:
        """Return how many KiB each server holds for an idle watcher."""
        self._load.do("open", watch="WatchJob", streams=10)
        self._load.do("close")
        before = {side: rss_kib(server.pid) for side, server in self.servers.items()}
        count = max(self._plan.streams)
        self._load.do("open", watch="WatchJob", streams=count)
        time.sleep(SETTLE)
        held = {side: (rss_kib(server.pid) - before[side]) / count for side, server in self.servers.items()}
        self._load.do("close")
        return held


def _medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(measured[name] for measured in rounds) for name in rounds[0]}


@contextmanager
def running(plan: Plan) -> Iterator[Suite]:
    """Start everything, and stop it again."""
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        folder = Path(name)
        with (
            fresh(plan.store, folder) as database,
            jobledger(folder, database, "--queue-wait", QUEUE_WAIT) as ours,
            floor(folder) as bare,
            generator(folder, ours, bare) as load,
        ):
            _print(f"bench: Jobledger at {ours.address}, the floor at {bare.address}; filling {plan.seeded:,} jobs")
            load.do("seed", count=plan.seeded)
            try:
                yield Suite(plan, load, {"jobledger": ours, "floor": bare})
            except TaskError as error:
                logged = (folder / "jobledger.log").read_text()[-MAX_LOGGED:]
                raise TaskError(f"{error}\nJobledger logged:\n{logged}") from error
