"""Which addresses deliveries may go to: public ones, unless the operator allows private networks."""

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_FIRST_32_BITS: Final = 0xFFFFFFFF


class RefusedAddressError(Exception):
    """A host has an address that deliveries may not go to. The address is not told: it would map a private network."""

    def __init__(self) -> None:
        super().__init__("the host has an address that is not public, which this service does not connect to")


class UnknownHostError(Exception):
    """A host has no address."""

    def __init__(self) -> None:
        super().__init__("the host's name cannot be resolved")


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet, and so is any IPv4 address inside an IPv6 one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inside = _ipv4_inside(found)
        if inside is not None:
            return is_public(str(inside))
        if found.is_site_local:
            return False
    refused = found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback
    return found.is_global and not (refused or found.is_private or found.is_link_local)


def _ipv4_inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address at which packets may end: of a mapped, compatible, NAT64, 6to4 or Teredo address."""
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return IPv4Address(int(address) & _FIRST_32_BITS)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


async def addresses_of(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a host once and return its addresses; raises UnknownHostError, RefusedAddressError if one is private."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UnknownHostError from None
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise RefusedAddressError
    return addresses
