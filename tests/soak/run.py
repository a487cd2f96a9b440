"""A soak: servers over one database, five owners, kills, and samples of what must level off."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.conftest import QUICK
from tests.soak.samples import Quantity, of_database, of_process
from tests.soak.slopes import HEADING, Point, Trend, trend
from tests.soak.tenant import Tenant
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.postgres import connect, end_connections
from tests.support.receiver import Receiver
from tests.support.server import Server

OWNERS: Final = 5
SETTINGS: Final = QUICK | {
    "auth": "keys", "indexed_labels": "user", "RECORD_SECONDS": "1", "event_retention": "20", "audit_retention": "20",
    "completed_retention": "10", "failed_retention": "10", "cancelled_retention": "10", "webhook_retention": "10",
    "webhook_allow_http": "true", "webhook_allow_private_networks": "true", "DUE_SCAN_SECONDS": "0.5",
}  # fmt: skip
"""What is kept is kept for seconds, so that it levels off within minutes."""
SAMPLES: Final = 200
"""Samples in a run, which is one each 9 s of half an hour; at most one a second."""
KILL_SECONDS: Final = (5.0, 20.0)
"""Seconds between two kills; less in runs of less than a minute."""
REPLICAS: Final = 3


@dataclass
class Soak:
    """One run on one store. The first server is measured and never killed in the judged part of the run."""

    store: str
    seconds: float
    seed: int
    directory: Path
    print_line: Callable[[str], object] = print
    points: dict[str, list[Point]] = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    tenants: list[Tenant] = field(default_factory=list)
    _began: float = 0.0

    async def run(self) -> None:
        """Run to the end, and stop the servers; whatever a server logged as an error is a violation."""
        with self._servers() as servers:
            targets = [server.target for server in servers]
            self.tenants = await self._made_tenants(targets)
            with Receiver() as receiver:
                self._began = time.monotonic()
                killing = asyncio.create_task(self._kill(servers))
                beside = [asyncio.create_task(tenant.live(receiver.url)) for tenant in self.tenants]
                beside.append(asyncio.create_task(_forget(receiver)))
                try:
                    await self._sample(servers[0])
                    await killing
                finally:
                    for task in [killing, *beside]:
                        task.cancel()
                    await asyncio.gather(killing, *beside, return_exceptions=True)
            for server in servers:
                status = await asyncio.to_thread(server.stop)
                assert status == 0, f"a server ended with {status}"

    @contextmanager
    def _servers(self) -> Iterator[list[Server]]:
        database = new_database(self.store, self.directory)
        self._token = first_key(database)
        if self.store == "postgresql":
            with connect(database) as connection:
                connection.execute("ALTER SYSTEM SET max_wal_size = '64MB'")
                connection.execute("ALTER SYSTEM SET autovacuum_naptime = '5s'")
                connection.execute("SELECT pg_reload_conf()")
        count = 1 if self.store == "sqlite" else REPLICAS
        servers = [Server(database, self.directory, SETTINGS).start() for _ in range(count)]
        try:
            yield servers
        finally:
            for server in servers:
                server.kill()

    async def _made_tenants(self, targets: list[str]) -> list[Tenant]:
        admin = KeyedApi(targets[0], self._token)
        tenants = []
        for number in range(OWNERS):
            owner = f"owner-{number}"
            token = (await admin.make(CALLER, WORKER, owner=owner)).token
            tenants.append(Tenant(owner, token, targets, self.seed))
        await admin.channel.close()
        return tenants

    @property
    def elapsed(self) -> float:
        """Return the seconds since the load began."""
        return time.monotonic() - self._began

    async def _sample(self, server: Server) -> None:
        """Measure until the time is over."""
        pause = max(1.0, self.seconds / SAMPLES)
        told = 0.0
        while self.elapsed < self.seconds:
            await asyncio.sleep(pause)
            measured = await asyncio.to_thread(of_database, server.database)
            measured |= of_process("server", server.pid)
            moment = self.elapsed
            for name, (quantity, value) in measured.items():
                self.quantities[name] = quantity
                self.points.setdefault(name, []).append((moment, value))
            if moment - told >= 30:
                told = moment
                self.print_line(f"[{self.seconds - moment:5.0f} s left] {self.summary()}")

    async def _kill(self, servers: list[Server]) -> None:
        """Kill replicas but the first, and end connections of the database; SQLite's server in the first third."""
        rng, share = Random(self.seed), min(1.0, self.seconds / 60)
        while self.elapsed + (pause := share * rng.uniform(*KILL_SECONDS)) < self.seconds:
            await asyncio.sleep(pause)
            if self.store == "postgresql" and rng.random() < 0.3:
                self.kills["database connections"] += await asyncio.to_thread(end_connections, servers[0].database)
            elif others := servers[1:] or (servers if self.elapsed < self.seconds / 3 else []):
                server = rng.choice(others)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                self.kills["servers"] += 1

    def operations(self) -> Counter[str]:
        """Return the calls of all owners, by name."""
        return sum((tenant.operations for tenant in self.tenants), Counter[str]())

    def violations(self) -> list[str]:
        """Return what must not have happened."""
        return [violation for tenant in self.tenants for violation in tenant.violations]

    def summary(self) -> str:
        """Say in a line how much was done."""
        done = sum(self.operations().values())
        faults = ", ".join(f"{count} {name} killed" for name, count in sorted(self.kills.items()))
        return f"{self.store}: {done:,} operations, {faults or 'nothing killed'}, {len(self.violations())} violations"

    def trends(self) -> list[Trend]:
        """Return how everything that was measured moved, what rises first."""
        trends = [
            trend(name, self.quantities[name].unit, points, self.seconds, self.quantities[name].bound)
            for name, points in self.points.items()
        ]
        moved = (each for each in trends if each.level or each.rise)
        return sorted(moved, key=lambda each: (not each.rises, each.name))

    def report(self) -> bool:
        """Print the slopes and the violations; return whether all is well."""
        trends = self.trends()
        self.print_line(HEADING)
        for each in trends:
            self.print_line(str(each))
        for violation in self.violations()[:20]:
            self.print_line(violation)
        self.print_line(self.summary())
        return not self.violations() and not any(each.rises for each in trends)


async def _forget(receiver: Receiver) -> None:
    """Drop what came to the receiver of webhooks, which keeps all of it."""
    while True:
        await asyncio.sleep(1)
        receiver.received.clear()
