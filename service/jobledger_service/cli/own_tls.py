"""How a command asks the server of this machine over TLS: it trusts the server's own certificate, by the name in it."""

import ssl
from pathlib import Path
from typing import Final, cast

from jobledger_service.transport.tls import CertificateError

_ANY: Final = "any"
"""The replacement of the star in *.example.org."""


def name_in(cert: Path, key: Path) -> str:
    """Return a name that a certificate is for, "" when it has none; raises CertificateError.

    The standard library shows what is in a certificate to a peer alone: so one shakes hands with itself, in memory.
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
    found = sides[0].getpeercert() or {}
    return cast("list[tuple[str, str]]", found.get("subjectAltName", []))
