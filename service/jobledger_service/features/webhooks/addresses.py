"""The addresses of hosts, looked up and checked; a silent name server delays only its own hosts.

Deliveries go to public ones, unless the operator allows private networks. An event loop resolves names on a few threads
(uvloop on four, for the whole process), and a look-up cannot be cancelled: a few names whose servers are silent would
stop all others, and the end of the process would wait for them.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

Found = list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]
"""What `socket.getaddrinfo` returns."""
Resolve = Callable[..., Found]

LOOKUPS_PER_ATTEMPT: Final = 4
"""Look-ups that may run for each attempt that may: resolvers take up to 30 s, an attempt up to 15 s by default."""

_NAT64: Final = ip_network("64:ff9b::/96")
_FIRST_32_BITS: Final = 0xFFFFFFFF
_UNICAST: Final = ip_network("2000::/3")
"""All that is given out of IPv6."""
_SPECIAL: Final = [
    ip_network(address)
    for address in (
        *("192.0.0.0/24", "192.88.99.0/24"),  # protocol assignments, relays of 6to4
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # protocols with Teredo, examples, 6to4, examples
    )
]
"""What the registries of special purposes have beside what this Python knows: it learned some of them late.

https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
"""


class NameLookups:
    """Resolves each host on a daemon thread of its own, so that no look-up waits for another; equal ones share it.

    `max_running` bounds the threads. A look-up whose caller stopped waiting runs to its end.
    """

    def __init__(self, max_running: int, resolve: Resolve = socket.getaddrinfo) -> None:
        self._max_running = max_running
        self._resolve = resolve
        self._running: dict[tuple[str, int], asyncio.Future[Found | OSError | UnicodeError]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; raises OSError, UnicodeError for an unknown host."""
        lookup = self._running.get((host, port)) or self._start(host, port)
        result = await asyncio.shield(lookup)
        if isinstance(result, Exception):
            raise result
        return list(dict.fromkeys(str(place[0]) for *_, place in result))

    def _start(self, host: str, port: int) -> "asyncio.Future[Found | OSError | UnicodeError]":
        if len(self._running) >= self._max_running:
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[Found | OSError | UnicodeError] = loop.create_future()

        def settle(result: Found | OSError | UnicodeError) -> None:
            del self._running[host, port]
            lookup.set_result(result)

        def run() -> None:
            result: Found | OSError | UnicodeError
            try:
                result = self._resolve(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                result = error
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=run, name="name look-up", daemon=True).start()
        self._running[host, port] = lookup
        return lookup


class RefusedAddressError(Exception):
    """A host has no address, or one that deliveries may not use.

    The message names neither the address nor which of the two it is: either would map a private network, name by name.
    """

    def __init__(self) -> None:
        super().__init__("the host has no public address: deliveries are made to public addresses only")


class UnknownHostError(Exception):
    """A host has no address, where all addresses may be known."""

    def __init__(self) -> None:
        super().__init__("the host's name cannot be resolved")


def is_public(address: str) -> bool:
    """Return whether an address is public; for one that contains an IPv4 address, that one counts."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        inside = IPv4Address(int(parsed) & _FIRST_32_BITS) if parsed in _NAT64 else parsed.ipv4_mapped
        if inside is not None:
            return is_public(str(inside))
        if parsed not in _UNICAST:
            return False
    special = parsed.is_multicast or parsed.is_reserved or any(parsed in network for network in _SPECIAL)
    return parsed.is_global and not special


async def addresses_of(lookups: NameLookups, host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a host once and return its addresses; all must be public unless private ones are allowed.

    Raises RefusedAddressError; with `allow_private`, UnknownHostError.
    """
    try:
        addresses = await lookups(host, port)
    except (OSError, UnicodeError):
        raise (UnknownHostError if allow_private else RefusedAddressError) from None
    if not allow_private and not all(map(is_public, addresses)):
        raise RefusedAddressError
    return addresses
