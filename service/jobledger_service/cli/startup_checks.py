"""Checks before the start: contradictory settings, and addresses open to strangers, are refused in a sentence."""

import errno
import ipaddress
import socket
from typing import Any, Final

from jobledger_service.core.opening import indexed_labels_of
from jobledger_service.features.artifacts.roots import roots_of
from jobledger_service.features.webhooks.sealing import cipher_of
from jobledger_service.settings import InvalidSettingError, Settings

LAST_PORT: Final = 65_535


def check_settings(settings: Settings) -> None:
    """Raise InvalidSettingError for contradictory settings, and for an address open to strangers."""
    host, _ = _host_and_port("--listen", settings.listen)
    metrics, admin = settings.metrics_listen, settings.admin_listen
    if metrics is not None and _is_open_beside(settings, "--metrics-listen", metrics) and not settings.metrics_insecure:
        raise InvalidSettingError(
            f"--metrics-listen: {metrics} lets other hosts read the metrics:"
            " listen on 127.0.0.1, or use --metrics-insecure on a trusted network"
        )
    if admin is None and settings.reflection == "admin":
        raise InvalidSettingError("--reflection: admin requires --admin-listen: set it, or use off")
    if admin is not None and _is_open_beside(settings, "--admin-listen", admin):
        _check_open_to_others(settings, admin)
    if settings.processes > 1 and settings.database.startswith("sqlite"):
        raise InvalidSettingError(
            f"--processes: {settings.processes} processes need PostgreSQL; an SQLite database has one server"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidSettingError("--tls-cert and --tls-key must be given together")
    if settings.tls_client_ca and not settings.tls_cert:
        raise InvalidSettingError("--tls-client-ca requires --tls-cert and --tls-key")
    indexed_labels_of(settings)
    roots_of(settings)
    cipher_of(settings)
    if not settings.insecure and not _is_loopback(host):
        _check_open_to_others(settings, settings.listen)


def _check_open_to_others(settings: Settings, address: str) -> None:
    if settings.auth == "none":
        raise InvalidSettingError(
            f"{address} is open to other hosts without authentication: listen on 127.0.0.1, use --auth keys"
            " and TLS, or use --insecure on a trusted network"
        )
    if settings.tls_cert is None:
        raise InvalidSettingError(
            f"{address} is open to other hosts, and without TLS their API keys are sent unencrypted:"
            " set --tls-cert and --tls-key, or use --insecure if a proxy terminates TLS"
        )


def _host_and_port(flag: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise InvalidSettingError(f"{flag}: value {address!r} must be HOST:PORT with a port of 0 to {LAST_PORT}")
    return host.strip("[]"), int(port)


def _is_open_beside(settings: Settings, flag: str, address: str) -> bool:
    """Whether others reach an address beside the main one, of which each process has its own; checks its ports."""
    host, port = _host_and_port(flag, address)
    if port + settings.processes - 1 > LAST_PORT:
        raise InvalidSettingError(
            f"{flag}: {settings.processes} processes take as many ports: {port} is too close to {LAST_PORT}"
        )
    return not settings.insecure and not _is_loopback(host)


def check_ports_are_free(settings: Settings) -> None:
    """Raise InvalidSettingError for an address that cannot be listened on, before anything is made or opened."""
    for name in ("listen", "admin_listen", "metrics_listen"):
        address = getattr(settings, name)
        if address is not None:
            _check_free(f"--{name.replace('_', '-')}", address, shared=name == "listen" and settings.shared_port)


def _check_free(flag: str, address: str, *, shared: bool) -> None:
    """Try to listen on each address of a host: a name may have one that this machine lacks."""
    host, port = _host_and_port(flag, address)
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidSettingError(f"{flag}: cannot listen on {address}: {error.strerror}") from error
    errors = [failed for place in places if (failed := _bind_error(place, shared=shared)) is not None]
    taken = any(failed.errno == errno.EADDRINUSE for failed in errors)
    if taken or len(errors) == len(places):
        why = "another process listens there" if taken else errors[0].strerror
        raise InvalidSettingError(f"{flag}: cannot listen on {address}: {why}") from errors[0]


def _bind_error(place: tuple[Any, ...], *, shared: bool) -> OSError | None:
    family, kind, protocol, _, where = place
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
