"""TCP proxies: one before a PostgreSQL that can fall silent, and one before anything that forwards badly."""

import asyncio
import math
import socket
import struct
from collections.abc import Coroutine
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import make_url

from examples.failover.silent_proxy import HERE, PIECE, SilentProxy

if TYPE_CHECKING:
    from collections.abc import Iterator


class DatabaseProxy(SilentProxy):
    """Forwards to the Unix socket of the PostgreSQL that a database's URL names, while it is not silent."""

    def __init__(self, database: str) -> None:
        """Listen on a free port."""
        self.origin, url = database, make_url(database)
        self._socket = str(Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}")
        super().__init__(self._dialed)
        self.database = url.set(host=HERE, port=self.port, query={}).render_as_string(hide_password=False)

    @contextmanager
    def silence(self) -> "Iterator[None]":
        """Forward nothing for the length of the block; what was sent meanwhile arrives after it."""
        self.fall_silent()
        try:
            yield
        finally:
            self.speak()

    def _dialed(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(self._socket)
        except OSError:
            end.close()
            raise
        return end


@contextmanager
def proxied(database: str) -> "Iterator[DatabaseProxy]":
    """Give a proxy for the length of the block."""
    with closing(DatabaseProxy(database)) as proxy:
        yield proxy


class FaultyProxy:
    """Forwards from a port of its own to an address, on the event loop, as slowly and as badly as it is told.

    `delay` is in seconds for each piece, `rate` in bytes a second; while `flows` is not set nothing comes through.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.target = ""
        self.delay = 0.0
        self.rate = math.inf
        self.flows = asyncio.Event()
        self.flows.set()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def cut(self) -> None:
        """Close all connections, in good order."""
        for end in list(self._ends):
            end.close()

    def reset(self) -> None:
        """Reset all connections: what was on its way is lost."""
        for end in list(self._ends):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    def half_close(self) -> None:
        """Tell every other end that nothing more comes from beyond, and go on in the other direction."""
        for end in list(self._ends)[::2]:
            with suppress(OSError, RuntimeError):
                end.write_eof()

    async def close(self) -> None:
        """End the listener and all connections, also those that are being made."""
        if self._server is not None:
            self._server.close()
        ends = list(self._ends)
        for end in ends:
            end.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(end.wait_closed() for end in ends), return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        self._begin(self._connect(reader, writer))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.origin.rpartition(":")
        try:
            beyond = await asyncio.open_connection(host, int(port))
        except OSError:
            self._ends.discard(writer)
            writer.close()
            return
        self._ends.add(beyond[1])
        self._begin(self._forward(reader, beyond[1]))
        self._begin(self._forward(beyond[0], writer))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):
            while piece := await reader.read(PIECE):
                await self.flows.wait()
                if pause := self.delay + len(piece) / self.rate:
                    await asyncio.sleep(pause)
                writer.write(piece)
                await writer.drain()
        self._ends.discard(writer)
        writer.close()
