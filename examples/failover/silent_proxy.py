"""A proxy that can fall silent, as a network does that loses every packet and closes no connection."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

HERE: Final = "127.0.0.1"
PIECE: Final = 65_536


class SilentProxy:
    """Forwards from a port of its own to where `dial` connects, while it is not silent; its threads end with it."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        """Listen on a free port."""
        self._dial = dial
        self._listener = socket.create_server((HERE, 0))
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        self._closed = False
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """Forward nothing from now on."""
        self._flows.clear()

    def speak(self) -> None:
        """Forward again, and first what was sent meanwhile."""
        self._flows.set()

    def close(self) -> None:
        """Close the port and all connections."""
        with self._lock:
            self._closed = True
        self.speak()
        for each in (self._listener, *self._open):
            _shut(each)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._keep(client)
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            server = self._dial()
        except OSError:
            _shut(client)
            return
        self._keep(server)
        threading.Thread(target=self._forward, args=(server, client), daemon=True).start()
        self._forward(client, server)

    def _keep(self, end: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._open.append(end)
                return
        end.close()  # what was dialed while the proxy closed: forwarding over it ends at once

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                self._flows.wait()
                target.sendall(piece)
        self._flows.wait()  # nor does anybody hear meanwhile that a connection has ended
        for end in (source, target):
            _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
