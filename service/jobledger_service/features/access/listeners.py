"""The part of the composition root that says where the server listens, and what it serves there."""

from collections.abc import Sequence

from google.protobuf.descriptor import ServiceDescriptor

from jobledger_service.settings import Settings
from jobledger_service.transport.server import ADMIN_SERVICES, CHANNELZ, SERVICES, ListenerConfig

from .feature import certificates_of


def main_listener_of(settings: Settings) -> ListenerConfig:
    """Return where callers and workers call."""
    services = (*SERVICES, CHANNELZ) if settings.channelz == "main" else SERVICES
    reflects = settings.reflection == "main"
    return _port(settings, settings.listen, services, reflection=reflects, shared=settings.shared_port)


def admin_listener_of(settings: Settings) -> ListenerConfig | None:
    """Return where operators call, None for nowhere else. It has what the main one has for them, and what was moved."""
    if settings.admin_listen is None:
        return None
    services = ADMIN_SERVICES if settings.channelz == "off" else (*ADMIN_SERVICES, CHANNELZ)
    return _port(settings, settings.admin_listen, services, reflection=settings.reflection != "off", shared=False)


def _port(
    settings: Settings, listen: str, services: Sequence[ServiceDescriptor], *, reflection: bool, shared: bool
) -> ListenerConfig:
    # Certificates of its own for each: one object tells of a change to the file once.
    return ListenerConfig(
        listen,
        certificates_of(settings),
        services,
        reflection=reflection,
        counted=settings.channelz == "main" or (settings.channelz == "admin" and settings.admin_listen is not None),
        shared=shared,
        message_limit=settings.message_limit,
    )
