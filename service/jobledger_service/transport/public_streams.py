"""The streams that need no key, such as Watch of grpc.health.v1: one host cannot take all of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .refusals import TooManyWatches

MAX_PER_CONNECTION = 16
"""The maximum for one connection: a client's channel watches the health of one service, or of a few."""
MAX_STREAMS = 20_000
"""Of all connections: as many as there are connections with a watch of their own."""


class PublicStreams:
    """The open streams, by connection and by host.

    When there are as many as may be, a host with less than its share of them may still open some.
    """

    def __init__(self, max_streams: int = MAX_STREAMS, max_per_connection: int = MAX_PER_CONNECTION) -> None:
        self._max_streams = max_streams
        self._max_per_connection = max_per_connection
        self._count = 0
        self._of_connection: Counter[str] = Counter()
        self._of_host: Counter[str] = Counter()

    @contextmanager
    def hold(self, peer: str) -> Iterator[None]:
        """Hold a stream of a connection, named as gRPC names it, `ipv4:HOST:PORT`; raises TooManyWatches."""
        host = peer.rpartition(":")[0]
        if self._of_connection[peer] >= self._max_per_connection:
            raise TooManyWatches("connection", self._max_per_connection)
        if self._count >= self._max_streams and self._of_host[host] >= self._share(host):
            raise TooManyWatches("server", self._max_streams)
        self._count += 1
        self._of_connection[peer] += 1
        self._of_host[host] += 1
        try:
            yield
        finally:
            self._count -= 1
            _remove(self._of_connection, peer)
            _remove(self._of_host, host)

    def _share(self, host: str) -> int:
        return self._max_streams // len(self._of_host.keys() | {host})


def _remove(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
