"""How a channel to Jobledger is set up, unless the caller says otherwise."""

import json
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

ChannelOptions = Sequence[tuple[str, int | str]]

_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")

_DEFAULTS: dict[str, int | str] = {
    # A FULL job may be larger than gRPC's 4 MiB; the service bounds its answers.
    "grpc.max_receive_message_length": -1,
    # gRPC would wait up to two minutes before it looks whether a restarted server is back.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A connection that died without a word is noticed within 40 s while a call or a watch is open.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}

# Calls go to the replicas in turn, and to none that is away or whose health says that it drains.
_REPLICAS: dict[str, int | str] = {
    "grpc.service_config": json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": "jobledger.v1.JobService"},
        }
    )
}


def channel_options(target: str, options: ChannelOptions) -> list[tuple[str, int | str]]:
    """Return the options for a channel: the defaults, and `options` over them."""
    replicas = _REPLICAS if "," in target or target.startswith("dns:") else {}
    if _is_list(target):  # certificates are checked for the first name
        replicas = replicas | {"grpc.default_authority": target.partition(",")[0].strip()}
    return list({**_DEFAULTS, **replicas, **dict(options)}.items())


def channel_target(target: str) -> str:
    """Return a target as gRPC takes it. Several addresses, "HOST:PORT,HOST:PORT", become one list of IP addresses.

    Names in a list are looked up now, once; one that is not known is left out. Raises ValueError for an address without
    a port, and when no name is known.
    """
    if not _is_list(target):
        return target
    found = [address for one in target.split(",") for address in _addresses(one.strip())]
    if not found:
        raise ValueError(f"target: {target!r} names no host that is known")
    addresses = dict.fromkeys(found)  # each once, in their order
    if all(isinstance(ip, IPv4Address) for ip, _ in addresses):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in addresses)
    return "ipv6:" + ",".join(f"[{_as_v6(ip)}]:{port}" for ip, port in addresses)


def _is_list(target: str) -> bool:
    return "," in target and not target.startswith(_SCHEMES)


def _as_v6(ip: IPv4Address | IPv6Address) -> str:
    return f"::ffff:{ip}" if isinstance(ip, IPv4Address) else str(ip)


def _addresses(one: str) -> list[tuple[IPv4Address | IPv6Address, int]]:
    host, _, port = one.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"target: {one!r} is not HOST:PORT")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return [(ip_address(address[0]), int(port)) for *_, address in found]
