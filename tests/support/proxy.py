"""A TCP proxy before a PostgreSQL that can fall silent: connections stay open, and nothing comes through."""

import socket
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 65_536


class SilentProxy:
    """Forwards to the Unix socket of the PostgreSQL that a database's URL names, while `silence` does not run."""

    def __init__(self, database: str) -> None:
        """Listen on a free port."""
        self.origin = database
        url = make_url(database)
        self._socket = str(Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        host, port = self._listener.getsockname()
        self.database = url.set(host=host, port=port, query={}).render_as_string(hide_password=False)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def silence(self) -> "Iterator[None]":
        """Forward nothing for the length of the block; what was sent meanwhile arrives after it."""
        self.fall_silent()
        try:
            yield
        finally:
            self.speak()

    def fall_silent(self) -> None:
        """Forward nothing from now on."""
        self._flows.clear()

    def speak(self) -> None:
        """Forward again, and first what was sent meanwhile."""
        self._flows.set()

    def close(self) -> None:
        """Close the port and all connections."""
        self.speak()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._socket)
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                self._flows.wait()
                target.sendall(piece)
        self._flows.wait()
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(database: str) -> "Iterator[SilentProxy]":
    """Give a proxy for the length of the block."""
    with closing(SilentProxy(database)) as proxy:
        yield proxy
