"""Looks up the addresses of hosts without letting a name server that does not answer stop anybody else.

An event loop resolves names on a few threads (uvloop on four, for the whole process), and a look-up cannot be
cancelled: a few names whose servers are silent would stop all others, and the end of the process would wait for them.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

Found = list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]
"""What `socket.getaddrinfo` returns."""
Resolve = Callable[..., Found]

LOOKUPS_PER_ATTEMPT: Final = 4
"""Look-ups that may run for each attempt that may: resolvers take up to 30 s, an attempt up to 15 s by default."""


class NameLookups:
    """Resolves each host on a daemon thread of its own, so that nobody waits for another one's; equal ones share it.

    `max_running` bounds the threads. A look-up that nobody awaits any more runs on to its end.
    """

    def __init__(self, max_running: int, resolve: Resolve = socket.getaddrinfo) -> None:
        self._max_running = max_running
        self._resolve = resolve
        self._running: dict[tuple[str, int], asyncio.Future[Found | OSError | UnicodeError]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; raises OSError, UnicodeError for a host that has none."""
        lookup = self._running.get((host, port)) or self._start(host, port)
        found = await asyncio.shield(lookup)
        if isinstance(found, Exception):
            raise found
        return list(dict.fromkeys(str(place[0]) for *_, place in found))

    def _start(self, host: str, port: int) -> "asyncio.Future[Found | OSError | UnicodeError]":
        if len(self._running) >= self._max_running:
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[Found | OSError | UnicodeError] = loop.create_future()

        def settle(found: Found | OSError | UnicodeError) -> None:
            del self._running[host, port]
            lookup.set_result(found)

        def run() -> None:
            found: Found | OSError | UnicodeError
            try:
                found = self._resolve(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                found = error
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=run, name="name look-up", daemon=True).start()
        self._running[host, port] = lookup
        return lookup
