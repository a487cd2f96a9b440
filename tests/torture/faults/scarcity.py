"""Too little of something: turns of the processor, room on the disk, connections, leave to write, and true time."""

import asyncio
import resource
import signal
from contextlib import suppress

import psycopg

from tests.support.cluster import NAME
from tests.torture.assembly import clock_file
from tests.torture.faults import FAULTS
from tests.torture.world import World

SECONDS = (0.5, 3.0)
"""How long it lasts."""


async def _wait(world: World) -> None:
    await asyncio.sleep(world.random.uniform(*SECONDS))


class Overload:
    """A server that gets no turn of the processor, and then finds all that came meanwhile at once."""

    name = "a server stands still, and then has more than it can carry"

    def applies(self, world: World) -> bool:
        return bool(world.servers)

    async def inject(self, world: World) -> None:
        process = world.random.choice(world.servers).process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await _wait(world)
        process.send_signal(signal.SIGCONT)


class FullDisk:
    """No file of the server may grow any more: to SQLite the disk is full."""

    name = "the disk of SQLite is full"

    def applies(self, world: World) -> bool:
        return world.store == "sqlite"

    async def inject(self, world: World) -> None:
        log = world.sqlite_file.with_name(f"{world.sqlite_file.name}-wal")
        size = log.stat().st_size if log.exists() else 0
        pid, free = world.servers[0].pid, resource.RLIM_INFINITY
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(size, 65_536), free))
        await _wait(world)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (free, free))


class ReadOnly:
    """A database that may be read and not written."""

    name = "PostgreSQL is read-only"

    def applies(self, world: World) -> bool:
        return world.cluster is not None and world.cluster.primary.runs

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        primary = world.cluster.primary
        await asyncio.to_thread(primary.set, "default_transaction_read_only", "on")
        await _wait(world)
        await asyncio.to_thread(primary.set, "default_transaction_read_only", "off")


class NoConnections:
    """Others hold all connections that PostgreSQL gives, and the servers' own are broken."""

    name = "others hold all connections of PostgreSQL"

    def applies(self, world: World) -> bool:
        return world.cluster is not None and world.cluster.primary.runs

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        primary = world.cluster.primary
        await asyncio.to_thread(primary.end_connections)
        held = await asyncio.to_thread(_hold_all, primary.address)
        try:
            await _wait(world)
        finally:
            for connection in held:
                connection.close()


def _hold_all(address: str) -> list[psycopg.Connection[tuple[object, ...]]]:
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    with suppress(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(address, dbname=NAME))
    return held


class JumpingClock:
    """A clock of a server's machine that is a minute ahead or behind, and then right again."""

    name = "the clock of a server jumps"

    def applies(self, world: World) -> bool:
        return bool(world.servers)

    async def inject(self, world: World) -> None:
        server = world.random.choice(world.servers)
        assert server.process is not None
        for seconds in (world.random.uniform(-60, 60), 0.0):
            clock_file(server).write_text(f"{seconds}", encoding="utf-8")
            server.process.send_signal(signal.SIGUSR1)
            await _wait(world)


class JumpingDatabaseClock:
    """A clock of the database's machine that is up to a minute ahead or behind, and then right again.

    The servers measure it at new connections.
    """

    name = "the clock of PostgreSQL jumps"

    def applies(self, world: World) -> bool:
        return world.cluster is not None and world.cluster.primary.runs

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        assert world.database_clock is not None
        for seconds in (world.random.randint(-60, 60), 0):
            await asyncio.to_thread(world.database_clock.set_clock, seconds)
            await asyncio.to_thread(world.cluster.primary.end_connections)
            await _wait(world)


FAULTS += [Overload(), FullDisk(), ReadOnly(), NoConnections(), JumpingClock(), JumpingDatabaseClock()]
