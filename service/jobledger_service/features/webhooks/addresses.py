"""The allowed addresses of deliveries: public ones, unless the operator allows private networks."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from .name_lookups import NameLookups

_NAT64: Final = ip_network("64:ff9b::/96")
_FIRST_32_BITS: Final = 0xFFFFFFFF
_UNICAST: Final = ip_network("2000::/3")
"""All that is given out of IPv6."""
_SPECIAL: Final = [
    ip_network(one)
    for one in (
        *("192.0.0.0/24", "192.88.99.0/24"),  # protocol assignments, relays of 6to4
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # protocols with Teredo, examples, 6to4, examples
    )
]
"""What the registries of special purposes have beside what this Python knows: it learned some of them late.

https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
"""


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
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inside = IPv4Address(int(found) & _FIRST_32_BITS) if found in _NAT64 else found.ipv4_mapped
        if inside is not None:
            return is_public(str(inside))
        if found not in _UNICAST:
            return False
    special = found.is_multicast or found.is_reserved or any(found in network for network in _SPECIAL)
    return found.is_global and not special


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
