"""The default options of a channel, and its target."""

import json
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

ChannelOptions = Sequence[tuple[str, int | str]]

_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")

_DEFAULTS: dict[str, int | str] = {
    # The service bounds its responses.
    "grpc.max_receive_message_length": -1,
    # By default gRPC waits up to two minutes before it reconnects to a restarted server.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # Detects a connection that died silently within 40 s while a call or a watch is open.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}

# Calls use the replicas in turn, without those that are unreachable or whose health says that they drain.
_REPLICAS: dict[str, int | str] = {
    "grpc.service_config": json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": "jobledger.v1.JobService"},
        }
    )
}


def channel_options(target: str, options: ChannelOptions) -> list[tuple[str, int | str]]:
    """Return the options of a channel: the defaults, overridden by `options`."""
    replicas = _REPLICAS if "," in target or target.startswith("dns:") else {}
    if _is_list(target):  # TLS checks certificates against the first name
        replicas = replicas | {"grpc.default_authority": target.partition(",")[0].strip()}
    return list({**_DEFAULTS, **replicas, **dict(options)}.items())


def channel_target(target: str) -> str:
    """Return a target in gRPC's form. Several addresses, "HOST:PORT,HOST:PORT", become one list of IP addresses.

    The names of a list are resolved once, now; unknown ones are left out. Raises ValueError for an address without a
    port, and when no name is known.
    """
    if not _is_list(target):
        return target
    resolved_addresses = [resolved for address in target.split(",") for resolved in _resolve(address.strip())]
    if not resolved_addresses:
        raise ValueError(f"target must name a known host; got {target!r}")
    addresses = dict.fromkeys(resolved_addresses)  # each once, in order
    if all(isinstance(ip, IPv4Address) for ip, _ in addresses):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in addresses)
    return "ipv6:" + ",".join(f"[{_as_v6(ip)}]:{port}" for ip, port in addresses)


def _is_list(target: str) -> bool:
    return "," in target and not target.startswith(_SCHEMES)


def _as_v6(ip: IPv4Address | IPv6Address) -> str:
    return f"::ffff:{ip}" if isinstance(ip, IPv4Address) else str(ip)


def _resolve(address: str) -> list[tuple[IPv4Address | IPv6Address, int]]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"target must be HOST:PORT; got {address!r}")
    try:
        entries = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return [(ip_address(socket_address[0]), int(port)) for *_, socket_address in entries]
