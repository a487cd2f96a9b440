"""A server as the load generator sees it: raw bytes over a few connections."""

import json
import statistics
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc

from .floor import STEERING
from .processes import CpuTimes, cpu_times

if TYPE_CHECKING:
    Channel = grpc.aio.Channel
    Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    Streaming = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
    Stream = grpc.aio.UnaryStreamCall[bytes, bytes]
else:
    Channel = Unary = Streaming = Stream = Any

CONNECTIONS: Final = 4
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


class Target:
    """One server and the connections to it; call number n goes over connection n modulo their number."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self.pid = pid
        options = (
            ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        )
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
        self._unary: dict[tuple[str, int], Unary] = {}

    def unary(self, path: str, slot: int = 0) -> Unary:
        """Return a method, with bytes for messages."""
        place = (path, slot % CONNECTIONS)
        if place not in self._unary:
            self._unary[place] = self._channels[place[1]].unary_unary(path)
        return self._unary[place]

    def stream(self, path: str, request: bytes, slot: int) -> Stream:
        """Open a stream of bytes."""
        method: Streaming = self._channels[slot % CONNECTIONS].unary_stream(path)
        return method(request)

    def cpu(self) -> CpuTimes:
        """Return the CPU time that the server has used."""
        return cpu_times(self.pid)

    async def load(self, path: str, reply: bytes, appended: int = 0) -> None:
        """Have the floor answer a method so, and append and sync so many bytes first."""
        options = {"path": path, "reply": b64encode(reply).decode(), "append": appended}
        await self.unary(f"/{STEERING}/Load")(json.dumps(options).encode())

    async def flow(self, *, on: bool) -> None:
        """Start or stop the floor's streams."""
        await self.unary(f"/{STEERING}/Flow")(b"on" if on else b"off")

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of latencies, in milliseconds."""
    if len(seconds) < 2:  # noqa: PLR2004  quantiles need two
        return dict.fromkeys(("p50", "p95", "p99"), 1_000 * sum(seconds))
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": 1_000 * cuts[49], "p95": 1_000 * cuts[94], "p99": 1_000 * cuts[98]}
