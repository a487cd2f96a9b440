"""SIGKILL of servers, at random and at chosen moments, of workers, and of PostgreSQL; SQLite's log without its tail."""

import asyncio
import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.support.server import Server
from tests.torture.assembly import moment_file
from tests.torture.faults import FAULTS
from tests.torture.moments import MOMENTS
from tests.torture.world import World

KILLS = 10
"""The most kills of one fault, one soon after the other."""
PATIENCE = 3.0
"""Seconds for a chosen moment to come; then the server is killed where it is."""
_WAL_HEADER = 32
_FRAME_HEADER = struct.Struct(">IIIIII")


class KillServers:
    """SIGKILL of any of the servers at any time, several times."""

    name = "kill servers"

    def applies(self, world: World) -> bool:
        return bool(world.servers)

    async def inject(self, world: World) -> None:
        for _ in range(world.random.randint(1, KILLS)):
            await asyncio.sleep(world.random.uniform(0, 0.4))
            world.log.killed("at random")
            await world.kill_and_restart(world.random.choice(world.servers))


class KillAtMoment:
    """SIGKILL of a server at a chosen moment of a commit, several times."""

    name = "kill servers at chosen moments"

    def applies(self, world: World) -> bool:
        return bool(world.servers)

    async def inject(self, world: World) -> None:
        for _ in range(world.random.randint(1, KILLS)):
            server, moment = world.random.choice(world.servers), world.random.choice(MOMENTS)
            file = moment_file(server)
            file.write_text(moment, encoding="utf-8")
            await _until_dead(server)
            file.unlink()
            world.log.killed(moment)
            await world.kill_and_restart(server)


class KillWorkers:
    """SIGKILL of a worker process; the crew starts another one."""

    name = "kill a worker"

    def applies(self, world: World) -> bool:
        return bool(world.workers)

    async def inject(self, world: World) -> None:
        world.log.killed("a worker")
        world.random.choice(world.workers).kill()


class KillDatabase:
    """SIGKILL of all processes of the primary, which then recovers."""

    name = "kill PostgreSQL"

    def applies(self, world: World) -> bool:
        return world.cluster is not None and world.cluster.primary.runs

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        node = world.cluster.primary
        world.log.killed("PostgreSQL")
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(world.random.uniform(0, 1))
        await asyncio.to_thread(node.start)


class LoseLogTail:
    """SIGKILL of the server, and the end of SQLite's log as a loss of power may leave it: nothing, or a torn frame."""

    name = "lose or tear the end of SQLite's log"

    def applies(self, world: World) -> bool:
        return world.store == "sqlite"

    async def inject(self, world: World) -> None:
        [server] = world.servers
        file = moment_file(server)
        file.write_text(MOMENTS[0], encoding="utf-8")  # before the commit: then the log has frames that were not synced
        await _until_dead(server)
        file.unlink()
        await asyncio.to_thread(server.kill)
        log = world.sqlite_file.with_name(f"{world.sqlite_file.name}-wal")
        world.log.killed("with the end of the log", cut=cut_tail(log, world.random))
        await asyncio.to_thread(server.start)


async def _until_dead(server: Server) -> None:
    """Give the chosen moment some time to come."""
    assert server.process is not None
    with suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(server.process.wait, PATIENCE)


def cut_tail(log: Path, rng: Random) -> int:
    """Cut what follows the last commit of a log, or leave a part of it torn; return how many bytes were cut.

    A commit is acknowledged when its frames are synced, so that a loss of power leaves all up to it.
    """
    content = log.read_bytes() if log.exists() else b""
    end = end_of_commits(content)
    if not end:
        return 0
    torn = rng.randrange(len(content) - end + 1) if rng.random() < 0.5 else 0
    kept = content[: end + torn]
    if torn and rng.random() < 0.5:
        kept = kept[:-1] + bytes([kept[-1] ^ 0xFF])
    if torn == 0 and rng.random() < 0.5:
        kept += rng.randbytes(rng.randrange(1, 5_000))  # a part of a frame that never was whole
    with log.open("r+b") as file:
        file.seek(0)
        file.truncate()
        file.write(kept)
        os.fsync(file.fileno())
    return len(content) - end


def end_of_commits(content: bytes) -> int:
    """Return where the last frame of a log ends with which a transaction was committed; 0 without one."""
    if len(content) < _WAL_HEADER:
        return 0
    page_size, salts, end = int.from_bytes(content[8:12]), content[16:24], 0
    size = _FRAME_HEADER.size + page_size
    for begin in range(_WAL_HEADER, len(content) - size + 1, size):
        if content[begin + 8 : begin + 16] != salts:  # a frame from before the log was begun anew
            break
        if int.from_bytes(content[begin + 4 : begin + 8]):  # the size of the database: a commit
            end = begin + size
    return end


# crashes as often as all others together
FAULTS += [KillServers(), KillAtMoment()] * 5 + [KillWorkers(), KillDatabase(), LoseLogTail()]
