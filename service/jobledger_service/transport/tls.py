"""TLS: the server's certificate and the trusted authorities, read again when the files change."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_Mark = tuple[int, int, int]


class CertificateError(ValueError):
    """The files are not a certificate with its key, or not an authority for clients."""


def _mark(path: Path) -> _Mark | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


class Certificates:
    """The certificates of new connections. Each checks whether the files have changed; open connections continue.

    The PEM files are the certificate with those that lead to its authority, its key, and the authority of clients.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._files = [path for path in (cert, key, client_ca) if path]
        self._first = self._read()
        self._stamp = self._current_stamp()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a port; clients need a certificate too when there is an authority for them."""
        needed = self._client_ca is not None
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)  # None is for no change
        return grpc.dynamic_ssl_server_credentials(self._first, changed, require_client_authentication=needed)

    def _current_stamp(self) -> list[_Mark | None]:
        """Return a stamp that differs when a file was changed, replaced or removed."""
        return [_mark(path) for path in self._files]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        """Return the contents of the files, checked to fit together; raises CertificateError."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._cert, self._key)
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
            pair = (self._key.read_bytes(), self._cert.read_bytes())
            trusted = self._client_ca.read_bytes() if self._client_ca else None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise CertificateError(f"TLS with {', '.join(map(str, self._files))} is not possible: {error}") from error
        return grpc.ssl_server_certificate_configuration([pair], trusted)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the contents of changed files. Unusable files are logged once, and the old ones remain in use."""
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            read = self._read()
        except CertificateError as error:
            log.warning("the previous certificate stays in use", why=str(error))
            return None
        log.info("the certificate was read again", file=str(self._cert))
        return read
