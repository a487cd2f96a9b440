"""Where the server listens, what it serves there, over what TLS, and how often keys may call: as the settings say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.descriptor import ServiceDescriptor

from .core.api.services import ADMIN_SERVICE
from .settings import InvalidSettingError, Settings
from .transport.grpc_services import CHANNELZ
from .transport.methods import Kind
from .transport.server import ListenerConfig
from .transport.tls import Certificates

if TYPE_CHECKING:
    from .transport.limits.rate_limiter import RateLimiter


def listeners_of(settings: Settings, services: Sequence[ServiceDescriptor]) -> list[ListenerConfig]:
    """Return where callers and workers call, and where operators do, if elsewhere; `services` are those of all parts.

    The admin listener has what the main one has for operators, and what was moved.
    """
    if settings.channelz == "main":
        services = (*services, CHANNELZ)
    reflects = settings.reflection == "main"
    main = _port(settings, settings.listen, services, reflection=reflects, shared=settings.shared_port)
    if settings.admin_listen is None:
        return [main]
    services = (ADMIN_SERVICE,) if settings.channelz == "off" else (ADMIN_SERVICE, CHANNELZ)
    reflects = settings.reflection != "off"
    return [main, _port(settings, settings.admin_listen, services, reflection=reflects, shared=False)]


def _port(
    settings: Settings, listen: str, services: Sequence[ServiceDescriptor], *, reflection: bool, shared: bool
) -> ListenerConfig:
    # Each listener has its own certificates, since one object reports a change of the file only once.
    return ListenerConfig(
        listen,
        certificates_of(settings),
        services,
        reflection=reflection,
        counted=settings.channelz == "main" or (settings.channelz == "admin" and settings.admin_listen is not None),
        shared=shared,
        message_limit=settings.message_limit,
    )


def certificates_of(settings: Settings) -> Certificates | None:
    """Return what TLS is spoken with, None for no TLS; raises CertificateError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def rate_limiter_of(settings: Settings) -> "RateLimiter | None":
    """Return how often keys may call, None when there is no bound; raises InvalidSettingError."""
    rate_settings = {
        Kind.READ: settings.rate_limit_read,
        Kind.WRITE: settings.rate_limit_write,
        Kind.WATCH: settings.rate_limit_watch,
    }
    rates = {kind: rate for kind, rate in rate_settings.items() if rate is not None}
    if not rates:
        return None
    from .transport.limits.rate_limiter import InvalidRateError, RateLimiter  # noqa: PLC0415  most servers start 40 ms earlier without it

    try:
        return RateLimiter(rates, settings.rate_limit_store)
    except InvalidRateError as error:
        raise InvalidSettingError(f"--rate-limit-…: {error}") from error
