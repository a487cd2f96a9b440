"""The part of the composition root that says where the server listens, and what it serves there."""

from collections.abc import Sequence

from google.protobuf.descriptor import ServiceDescriptor

from jobledger_service.settings import Settings
from jobledger_service.transport.server import CHANNELZ, OF_ADMINS, SERVICES, Port

from .feature import certificates_of


def main_port_of(settings: Settings) -> Port:
    """Return where callers and workers call."""
    services = (*SERVICES, CHANNELZ) if settings.channelz == "main" else SERVICES
    reflects = settings.reflection == "main"
    return _port(settings, settings.listen, services, reflection=reflects, shared=settings.shared_port)


def admin_port_of(settings: Settings) -> Port | None:
    """Return where operators call, None for nowhere else. It has what the main one has for them, and what was moved."""
    if settings.admin_listen is None:
        return None
    services = OF_ADMINS if settings.channelz == "off" else (*OF_ADMINS, CHANNELZ)
    return _port(settings, settings.admin_listen, services, reflection=settings.reflection != "off", shared=False)


def _port(
    settings: Settings, listen: str, services: Sequence[ServiceDescriptor], *, reflection: bool, shared: bool
) -> Port:
    # Certificates of its own for each: one object tells of a change to the file once.
    return Port(
        listen,
        certificates_of(settings),
        services,
        reflection=reflection,
        counted=settings.channelz == "main" or (settings.channelz == "admin" and settings.admin_listen is not None),
        shared=shared,
        message_limit=settings.message_limit,
    )
