"""What runs while a torture run lasts: servers, workers, database nodes, proxies, and the log of injected faults."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.support.clocks import DatabaseWithClock
from tests.support.cluster import Cluster
from tests.support.proxy import FaultyProxy
from tests.support.server import Server

if TYPE_CHECKING:
    from subprocess import Popen


@dataclass(frozen=True, slots=True)
class LostTail:
    """Acknowledged commits above a position are gone; times are of `time.monotonic()`."""

    kept_position: int
    lost_from: float
    """When the first commit above the position may have been acknowledged."""
    promoted: float
    """When the first commit of the new term may have been acknowledged."""


@dataclass(slots=True)
class FaultLog:
    """All faults of a run, in memory and as lines of JSON in a file."""

    path: Path
    count: Counter[str] = field(default_factory=Counter)
    lost_tails: list[LostTail] = field(default_factory=list)
    kills: int = 0

    @contextmanager
    def injected(self, name: str) -> Iterator[None]:
        """Write one line when a fault begins and one when it is over."""
        self.count[name] += 1
        self.write("fault", name=name, phase="begin")
        try:
            yield
        finally:
            self.write("fault", name=name, phase="end")

    def killed(self, what: str, **fields: object) -> None:
        """Count a SIGKILL, and write what it ended, and when."""
        self.kills += 1
        self.write("kill", what=what, **fields)

    def lost_tail(self, tail: LostTail) -> None:
        """Say that a fail-over has lost commits, so that the checker does not miss them."""
        self.lost_tails.append(tail)
        self.write("lost_tail", **asdict(tail))

    def write(self, record: str, **fields: object) -> None:
        """Append a line; also for what helps to read a history (a chosen moment, a process id)."""
        with self.path.open("a") as file:
            file.write(json.dumps({"record": record, "time": time.monotonic(), **fields}) + "\n")


@dataclass(slots=True)
class World:
    """Everything that a fault may touch. Lists change while a run lasts: a replaced process takes its place in them."""

    store: str
    """"sqlite", "postgresql" or "failover" (a primary and standbys)."""
    directory: Path
    random: Random
    database: str
    """The URL that the servers have, which may lead through a proxy."""
    log: FaultLog
    settings: dict[str, str]
    servers: list[Server] = field(default_factory=list)
    """The replicas; one on SQLite. A server keeps its port over `kill()` and `start()`."""
    workers: list["Popen[bytes]"] = field(default_factory=list)
    """Worker processes, one lease holder each; the runner starts another one in place of one that ended."""
    cluster: Cluster | None = None
    """The PostgreSQL servers of the run's own: a primary, and on "failover" a standby; none on SQLite."""
    database_clock: DatabaseWithClock | None = None
    """The clock of the primary; none on SQLite, whose clock is the server's."""
    client_proxies: dict[str, FaultyProxy] = field(default_factory=dict)
    """Proxies before servers, by the server's target: callers dial `target_of(server)`."""
    database_proxies: list[FaultyProxy] = field(default_factory=list)
    """Proxies between servers and the nodes of the cluster, in their order."""

    def target_of(self, server: Server) -> str:
        """Return the address at which callers reach a server."""
        proxy = self.client_proxies.get(server.target)
        return proxy.target if proxy else server.target

    @property
    def sqlite_file(self) -> Path:
        """Return the database file of SQLite; its WAL is beside it, with the suffix `-wal`."""
        return Path(self.database.removeprefix("sqlite:///"))

    async def kill_and_restart(self, server: Server) -> None:
        """SIGKILL a server and start it again on the same port."""
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
