"""Jobledger beside its peers in one run, each in turn: `python -m bench.peers`.

Queues on the same PostgreSQL claim and complete; etcd reads, writes and tells many streams of a change. It ends within
ten minutes.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg

from . import etcd
from .databases import STORES, fresh
from .peers_report import Measured, etcd_table, queue_table, write
from .processes import ROOT, CpuTimes, Generator, StartError, floor, generator, jobledger, tasked, tree_cpu_times
from .report import circumstances, run_benchmark
from .suite import QUEUE_WAIT

LATEST: Final = ROOT / "bench" / "results" / "peers.json"
BOUND: Final = 480.0
"""Seconds after which no round begins; the last one and the clean-up end within two more minutes."""
WORKERS: Final = 4
QUEUES: Final = (("pgqueuer", 50, 10_000), ("pgqueuer", 100, 10_000), ("procrastinate", 10, 800))
"""The queue, how many jobs a worker claims or has at a time, and how many jobs there are: a second's work or two."""
CLAIMS: Final = (
    ("Jobledger, 50 a call", "CompleteClaim-50", 50),
    ("Jobledger, 100 a call", "CompleteClaim-100", 100),
    ("Jobledger, 50 jobs of one chunk", "CompleteClaim-50-single", 50),
)
"""The calls that Jobledger is measured by, and the chunks of each; the jobs have as many chunks but for the last."""
CALLS: Final = {"GetJob": "Range", "Heartbeat-1": "Put"}
IN_FLIGHT: Final = (1, 64, 256)
STREAMS: Final = (100, 1_000)
MESSAGE_BYTES: Final = 730
"""The message of a change that Jobledger sends: as large is what is put in etcd."""
WARM: Final = 0.2

Contender = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """How long each measure lasts and how often, and when the time is over."""

    rounds: int
    seconds: float
    began: float
    """By the monotonic clock."""

    def print(self, sentence: str) -> None:
        """Print the progress."""
        print(f"bench.peers: {time.monotonic() - self.began:4.0f} s  {sentence}", file=sys.stderr, flush=True)

    def in_turn(self, name: str, load: int, contenders: dict[str, Contender]) -> Measured:
        """Measure each contender in turn, several rounds; fewer when the time is over, but one."""
        seen: dict[str, list[dict[str, Any]]] = {contender: [] for contender in contenders}
        for number in range(self.rounds):
            if number and time.monotonic() - self.began > BOUND:
                break
            for contender, measure in contenders.items():
                seen[contender].append(measure())
        measured = Measured(name, load, seen)
        rates = ", ".join(f"{contender} {measured.median(contender, 'rate'):,.0f}/s" for contender in contenders)
        self.print(f"{name}, {load}: {rates}")
        return measured


def queues(run: Run, folder: Path) -> Measured:
    """Measure how four workers claim and complete on PostgreSQL: by Jobledger's server, and by queues in process."""
    with ExitStack() as stack:
        url = stack.enter_context(fresh("postgresql", folder))
        ours = stack.enter_context(jobledger(folder, url, "--queue-wait", QUEUE_WAIT))
        load = stack.enter_context(generator(folder, ours, stack.enter_context(floor(folder))))
        postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        contenders: dict[str, Contender] = {}
        for name in dict.fromkeys(name for name, _, _ in QUEUES):
            peer = stack.enter_context(tasked("queue_peers", [name, _database(url, name)], folder))
            for _, batch, jobs in (queue for queue in QUEUES if queue[0] == name):
                contenders[f"{name}, {batch} at a time"] = _of_queue(peer, postmaster, batch, jobs)
        load.do("seed", count=1)
        for name, case, chunks in CLAIMS:
            load.do("prepare", case=case, in_flight=WORKERS)
            contenders[name] = _of_claims(load, postmaster, case, chunks, run.seconds)
        return run.in_turn("claim and complete", WORKERS, contenders)


def _database(url: str, name: str) -> str:
    """Make another database in the PostgreSQL of a URL, and return the connection string."""
    server = url.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server.replace("/postgres?", f"/{name}?")


def _of_queue(peer: Generator, postmaster: int, batch: int, jobs: int) -> Contender:
    def measure() -> dict[str, Any]:
        peer.do("fill", count=jobs)
        before = tree_cpu_times(postmaster)
        seen = peer.do("drain", workers=WORKERS, batch=batch)
        if seen["jobs"] != jobs:
            raise StartError(f"a queue of {jobs} jobs was drained of {seen['jobs']}")
        return {
            "rate": jobs / seen["seconds"],
            "user_us": seen["user"] / jobs * 1e6,
            "kernel_us": seen["kernel"] / jobs * 1e6,
            "postgresql_us": _microseconds(before, tree_cpu_times(postmaster), jobs),
            "generator_us": 0.0,
        }

    return measure


def _of_claims(load: Generator, postmaster: int, case: str, chunks: int, seconds: float) -> Contender:
    def measure() -> dict[str, Any]:
        load.do("refill", case=case, seconds=seconds)
        before = tree_cpu_times(postmaster)
        seen = load.do("calls", case=case, side="jobledger", in_flight=WORKERS, seconds=seconds)
        after = tree_cpu_times(postmaster)
        each = {name: seen[name] / chunks for name in ("user_us", "kernel_us", "generator_us")}
        database = _microseconds(before, after, seen["calls"] * chunks)
        return {"rate": seen["rate"] * chunks, "postgresql_us": database, "p50": seen["p50"], **each}

    return measure


def _microseconds(before: CpuTimes, after: CpuTimes, count: int) -> float:
    return (sum(after) - sum(before)) / count * 1e6


def against_etcd(run: Run, store: str, folder: Path) -> Iterator[Measured]:
    """Measure reads, writes and fan-out of etcd, of Jobledger and of the floor."""
    with ExitStack() as stack:
        url = stack.enter_context(fresh(store, folder))
        ours = stack.enter_context(jobledger(folder, url, "--queue-wait", QUEUE_WAIT))
        load = stack.enter_context(generator(folder, ours, stack.enter_context(floor(folder))))
        served = stack.enter_context(etcd.etcd(folder))
        theirs = stack.enter_context(tasked("etcd_load", [served.address, str(served.pid)], folder))
        load.do("seed", count=100)
        for case, call in CALLS.items():
            for in_flight in IN_FLIGHT:
                yield run.in_turn(case, in_flight, _calls(run, load, theirs, case, call, in_flight))
        for streams in STREAMS:
            load.do("open", watch="WatchJob", streams=streams)
            theirs.do("open", streams=streams)
            yield run.in_turn("WatchJob", streams, _watches(run, load, theirs))
            theirs.do("close")
            load.do("close")


def _calls(run: Run, load: Generator, theirs: Generator, case: str, call: str, in_flight: int) -> dict[str, Contender]:
    reply = load.do("prepare", case=case, in_flight=in_flight)["bytes"]
    theirs.do("prepare", case=call, size=reply if call == "Range" else MESSAGE_BYTES, in_flight=in_flight)
    options = {"in_flight": in_flight, "seconds": run.seconds}
    return {
        "floor": lambda: load.do("calls", case=case, side="floor", **options),
        "jobledger": lambda: load.do("calls", case=case, side="jobledger", **options),
        "etcd": lambda: theirs.do("calls", case=call, **options),
    }


def _watches(run: Run, load: Generator, theirs: Generator) -> dict[str, Contender]:
    options = {"seconds": run.seconds, "warm": WARM}
    return {
        "floor": lambda: load.do("deliveries", side="floor", **options),
        "jobledger": lambda: load.do("deliveries", side="jobledger", **options),
        "etcd": lambda: theirs.do("deliveries", size=MESSAGE_BYTES, **options),
    }


def _run(options: argparse.Namespace) -> str:
    run, parts = Run(options.rounds, options.seconds, time.monotonic()), []
    about = circumstances(
        {"store": options.store, "rounds": options.rounds, "seconds": options.seconds, "workers": WORKERS}
    )
    about["versions"] |= {name: version(name) for name, _, _ in QUEUES}
    claims, calls = None, list[Measured]()
    with TemporaryDirectory(prefix="jobledger-peers-") as name:
        claims = queues(run, Path(name))
    parts.append(queue_table(claims))
    try:
        about["versions"]["etcd"] = etcd.version()
        with TemporaryDirectory(prefix="jobledger-peers-") as name:
            calls += against_etcd(run, options.store, Path(name))
        parts.append(etcd_table(calls))
    except StartError as error:
        parts.append(f"etcd is skipped: {error}")
    write(options.json, about, [claims, *calls])
    run.print(f"written to {options.json}")
    return "\n\n".join(parts)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite", help="Jobledger's beside etcd (default: sqlite)")
    parser.add_argument("--rounds", type=int, default=5, help="of every measure (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measure lasts (default: 1)")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="FILE", help="where the JSON goes")
    options = parser.parse_args()
    return run_benchmark("bench.peers", lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
