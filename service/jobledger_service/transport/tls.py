"""TLS: the server's certificate and the trusted authorities, read again when the files change."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import structlog
from msgspec import Struct as MsgStruct

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_Mark = tuple[int, int, int]


class CertificateError(ValueError):
    """The files are no certificate and its key, or none that a client's could be checked with."""


class Files(MsgStruct, frozen=True):
    """PEM files: the certificate with those that lead to its authority, its key, and the authority of clients."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> tuple[_Mark | None, ...]:
        """Return what differs when a file was changed, replaced, or taken away."""
        return tuple(_mark(path) for path in (self.cert, self.key, self.client_ca) if path)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Return what the files hold, having checked that it fits together; raises CertificateError."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
            pair = (self.key.read_bytes(), self.cert.read_bytes())
            trusted = self.client_ca.read_bytes() if self.client_ca else None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            shown = ", ".join(str(path) for path in (self.cert, self.key, self.client_ca) if path)
            raise CertificateError(f"TLS with {shown} is not possible: {error}") from error
        return grpc.ssl_server_certificate_configuration([pair], trusted)


def _mark(path: Path) -> _Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Certificates:
    """The certificates of new connections. Each checks whether the files have changed; open connections continue."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._first = files.read()
        self._stamp = files.stamp()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a port; clients need a certificate too when there is an authority for them."""
        needed = self._files.client_ca is not None
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)  # None is for no change
        return grpc.dynamic_ssl_server_credentials(self._first, changed, require_client_authentication=needed)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the contents of changed files. Unusable files are logged once, and the old ones remain in use."""
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            read = self._files.read()
        except CertificateError as error:
            log.warning("the previous certificate stays in use", why=str(error))
            return None
        log.info("the certificate was read again", file=str(self._files.cert))
        return read
