"""HTTP/2 by hand, for what no gRPC client does: messages that begin and never end, and answers that nobody reads."""

import asyncio
import struct
from contextlib import suppress
from typing import Self

from tests.support.bounds import BOUND

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
MAX_FRAME = 16_384


class RawConnection:
    """A connection that begins calls, and sends as much of each request as the server makes room for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._initial = self._window = 65_535
        self._windows: dict[int, int] = {}
        self.sent = 0

    @classmethod
    async def open(cls, target: str) -> Self:
        """Connect to a server, HOST:PORT."""
        host, _, port = target.rpartition(":")
        made = cls(*await asyncio.open_connection(host, int(port)))
        made._writer.write(_PREFACE)
        return made

    def begin(self, path: str, **headers: str) -> None:
        """Begin a call."""
        stream = 2 * len(self._windows) + 1
        self._windows[stream] = self._initial
        pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
        sent = pseudo | {"content-type": "application/grpc", "te": "trailers"} | headers
        self._writer.write(_frame(_HEADERS, _END_HEADERS, stream, b"".join(map(_literal, sent, sent.values()))))

    def call(self, path: str, message: bytes, **headers: str) -> None:
        """Begin a call and send its one message, of one frame. What the server answers is not read."""
        self.begin(path, **headers)
        payload = b"\0" + struct.pack(">I", len(message)) + message
        self._writer.write(_frame(_DATA, _END_STREAM, 2 * len(self._windows) - 1, payload))

    async def send(self, message_size: int) -> None:
        """Send of a message in each call what the server makes room for, but never its end, until it makes no more."""
        quiet = 0
        begun: dict[int, int] = dict.fromkeys(self._windows, 0)
        while quiet < 5:
            before = self.sent
            for stream in list(begun):
                room = min(self._windows.get(stream, 0), self._window, message_size - begun[stream])
                while room > 0:
                    size = min(room, MAX_FRAME)
                    self._send(stream, size, begun[stream] == 0, message_size)
                    begun[stream] += size
                    room -= size
            await self.answered()
            quiet = quiet + 1 if self.sent == before else 0

    def _send(self, stream: int, size: int, first: bool, message_size: int) -> None:
        prefix = (b"\0" + struct.pack(">I", message_size) + b"\x1a")[: size if first else 0]
        self._writer.write(_frame(_DATA, 0, stream, prefix + bytes(size - len(prefix))))
        self._windows[stream] -= size
        self._window -= size
        self.sent += size

    async def answered(self) -> None:
        """Wait until the server has seen all that was sent, and read what it sent; pings would be too many for it."""
        self._writer.write(_frame(_SETTINGS, 0, 0))
        async with asyncio.timeout(BOUND):
            while not await self._read():
                pass

    async def _read(self) -> bool:
        """Read a frame; return whether it answers our settings."""
        head = await self._reader.readexactly(9)
        size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF
        payload = await self._reader.readexactly(size)
        if kind == _WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == _WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload)
        elif kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
            self._windows.pop(stream, None)
        elif kind == _PING and not flags & _ACK:
            self._writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            settings = dict(struct.iter_unpack(">HI", payload))
            self._initial = settings.get(_INITIAL_WINDOW_SIZE, self._initial)
            self._writer.write(_frame(_SETTINGS, _ACK, 0))
        return kind == _SETTINGS and bool(flags & _ACK)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(OSError):  # the server has closed it
            await self._writer.wait_closed()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _literal(name: str, value: str) -> bytes:
    """Return a header as HPACK has it without its tables: never indexed, not compressed."""
    return b"\0" + b"".join(bytes([len(one)]) + one.encode() for one in (name, value))
