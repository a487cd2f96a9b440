"""A client of a running server, for commands that ask one; the own server is trusted by its own certificate."""

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

import grpc
from jobledger_client import Backoff, JobClient

from jobledger_service.transport.tls import CertificateError

CALL_TIMEOUT = timedelta(seconds=10)
"""How long a server has to answer."""

_ANY: Final = "any"
"""The replacement of the star in *.example.org."""


def open_client(
    target: str,
    api_key: str | None,
    credentials: grpc.ChannelCredentials | None,
    *,
    name: str = "",
    timeout: timedelta = CALL_TIMEOUT,
) -> JobClient:
    """Return a client that sends each call once; `name` is that of the server's certificate, unless it is the host's.

    An operator needs to know at once that a server does not answer.
    """
    options = [("grpc.ssl_target_name_override", name)] if name else []
    too_late = Backoff(initial=2 * timeout, max_wait=2 * timeout)
    return JobClient(
        target, api_key=api_key, credentials=credentials, options=options, timeout=timeout, backoff=too_late
    )


def name_in(cert: Path, key: Path) -> str:
    """Return a name that a certificate is for, "" when it has none; raises CertificateError.

    The standard library shows the contents of a certificate only to a peer: the handshake runs in memory.
    """
    try:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        server.load_cert_chain(cert, key)
        client.check_hostname = False
        client.load_verify_locations(cert)
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        shown = _shown(server, client)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(f"TLS with {cert}, {key} is not possible: {error}") from error
    names = [value for kind, value in shown if kind in ("DNS", "IP Address")]
    return names[0].replace("*", _ANY) if names else ""


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> list[tuple[str, str]]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=_ANY),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    pending = list(sides)
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)
    certificate = sides[0].getpeercert() or {}
    return cast("list[tuple[str, str]]", certificate.get("subjectAltName", []))
