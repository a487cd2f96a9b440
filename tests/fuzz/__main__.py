"""`make fuzz`: hostile callers beside a bystander, and the machine beside its model, on each store in turn."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import grpc

from tests.fuzz.campaign import SETTINGS, Campaign
from tests.fuzz.findings import Finding
from tests.fuzz.methods import served
from tests.fuzz.owners import drive, two_owners
from tests.support.databases import STORES, new_database
from tests.support.keys import first_key
from tests.support.server import Server

EVERY = 5.0
"""Seconds between two lines that tell how far it is."""
SLICE = 60.0
"""Seconds that a store has before the next one's turn; each turn is on a new database."""
SHORTEST = 20.0
"""Seconds of a turn at least: a shorter one is little more than the start of its server."""
MACHINES_SHARE = 0.3
KEPT = Path(".fuzz")
"""Where requests that something came of are kept."""


class Clock:
    """Says when a share of the time is over, and how far it is."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._told = time.monotonic()

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._end - time.monotonic())

    def tell(self, words: Callable[[], str]) -> None:
        """Print a line, unless the last one was printed just now."""
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            print(f"[{self.left():5.0f} s left] {words()}", flush=True)


class Fuzzing:
    """One run of both, and all that was found."""

    def __init__(self, minutes: float, seed: int, stores: Sequence[str]) -> None:
        self.found: list[Finding] = []
        self._clock = Clock(minutes * 60)
        self._stores = stores
        self._seed = seed
        self._totals = {"calls": 0, "rounds": 0, "lives": 0}

    def run(self) -> None:
        """Take turns until the time is over, at least one on each store; what was found is kept and told at once."""
        count = len(self._stores)
        for turn, store in enumerate(cycle(self._stores)):
            left = self._clock.left()
            if left < SHORTEST and turn >= count:
                return
            share = min(SLICE, max(SHORTEST, left / max(1, count - turn)))
            with tempfile.TemporaryDirectory(prefix="jobledger-fuzz-") as directory:
                print(f"SEED={self._seed} on {store}", flush=True)
                self._attack(store, Path(directory), share * (1 - MACHINES_SHARE))
                self._compare(store, Path(directory), share * MACHINES_SHARE)
            self._seed += turn % count == count - 1

    def told(self) -> str:
        """Return what was done."""
        done = ", ".join(f"{count} {name}" for name, count in self._totals.items())
        return f"{done}; {len(self.found)} findings"

    def _attack(self, store: str, directory: Path, seconds: float) -> None:
        campaign = Campaign(store, directory, self._seed, lambda words: print(words, flush=True))
        end = time.monotonic() + seconds

        def goes_on(calls: int) -> bool:
            self._clock.tell(lambda: f"{store}: {campaign.told()}")
            return time.monotonic() < end

        try:
            asyncio.run(campaign.run(goes_on))
        finally:
            self._totals["calls"] += campaign.calls
            self._totals["rounds"] += campaign.rounds
            for one in campaign.findings.values():
                self._keep(one)

    def _compare(self, store: str, directory: Path, seconds: float) -> None:
        end, number = time.monotonic() + seconds, 0
        try:
            with two_owners(store, directory) as callers:
                while number == 0 or time.monotonic() < end:
                    drive(callers, self._seed * 1_000 + number, examples=5, steps=30)
                    number += 1
                    self._totals["lives"] += 5
                    self._clock.tell(lambda: f"{store}: {self._totals['lives']} lives of a ledger beside its model")
        except Exception:  # noqa: BLE001 - whatever it is, the server is not as the model
            traceback.print_exc()
            self._keep(Finding("machine", f"{store} is not as the model, from seed {self._seed * 1_000 + number}"))

    def _keep(self, finding: Finding) -> None:
        self.found.append(finding)
        if finding.request:
            KEPT.mkdir(exist_ok=True)
            place = KEPT / f"{self._seed}-{len(self.found)}.bin"
            place.write_bytes(finding.request)
            print(f"{finding.method}: {finding.what}: make fuzz SEND='{finding.method} {place}'")


def send(store: str, method: str, place: Path) -> None:
    """Send one request that was kept to a fresh server, as an admin, and print what comes of it."""
    with tempfile.TemporaryDirectory(prefix="jobledger-fuzz-") as directory:
        database = new_database(store, Path(directory))
        metadata = (("authorization", f"Bearer {first_key(database)}"),)
        server = Server(database, Path(directory), SETTINGS).start()
        try:
            target = next(one for one in served(server.target) if one.path == method)
            with grpc.insecure_channel(server.target) as channel:
                call = channel.stream_stream(target.path)(iter([place.read_bytes()]), metadata=metadata, timeout=5)
                for raw in call:
                    print(repr(raw))
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}")
        finally:
            server.kill()
            print(server.tail())


def main(arguments: Sequence[str]) -> int:
    """Return 1 when something was found, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="how long, in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--store", choices=STORES, help="one store alone")
    parser.add_argument("--send", nargs=2, metavar=("METHOD", "FILE"), help="send one request that was kept")
    given = parser.parse_args(arguments)
    if given.send:
        send(given.store or STORES[0], given.send[0], Path(given.send[1]))
        return 0
    print(f"To repeat: make fuzz SEED={given.seed} MINUTES={given.minutes:g}", flush=True)
    fuzzing = Fuzzing(given.minutes, given.seed, [given.store] if given.store else STORES)
    try:
        fuzzing.run()
    except KeyboardInterrupt:
        print(f"\nstopped: {fuzzing.told()}")
        return 130
    print(fuzzing.told())
    return 1 if fuzzing.found else 0


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
