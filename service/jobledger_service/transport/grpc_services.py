"""gRPC's own services: health, reflection and channelz; their methods, and the objects that answer them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import ChannelzServicer
from grpc_health.v1 import health_pb2 as api
from grpc_reflection.v1alpha import reflection, reflection_pb2

from .identity import Caller, Role
from .methods import Kind, Method
from .refusals import ConnectionNotFound, ServiceNotFound

# The stubs of these name protobuf's classes in C.
HEALTH: Final[ServiceDescriptor] = api.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]

REFLECTION_V1ALPHA: Final[ServiceDescriptor] = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]  # type: ignore[assignment]
CHANNELZ: Final[ServiceDescriptor] = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]  # type: ignore[assignment]
HEALTH_METHODS: Final = (
    Method(HEALTH, "Check", None, Kind.READ, ("SERVICE_NOT_FOUND",)),
    Method(HEALTH, "Watch", None, Kind.WATCH, ("TOO_MANY_WATCHES",)),
)

_LISTS: Final = ("GetTopChannels", "GetServers")
"""Methods of channelz that name no object, which could be missing."""
CHANNELZ_METHODS: Final = tuple(
    Method(CHANNELZ, method.name, Role.ADMIN, Kind.READ, () if method.name in _LISTS else ("CONNECTION_NOT_FOUND",))
    for method in CHANNELZ.methods
)
_STATUS = api.HealthCheckResponse


def _reflection_v1() -> ServiceDescriptor:
    """Return the descriptor of v1, which many clients ask first: it is that of v1alpha under another name.

    The installed package has v1alpha alone.
    """
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    renamed = text_format.Parse(text_format.MessageToString(file).replace("v1alpha", "v1"), FileDescriptorProto())
    added: Any = descriptor_pool.Default().AddSerializedFile(renamed.SerializeToString())
    service: ServiceDescriptor = added.services_by_name["ServerReflection"]
    return service


REFLECTION: Final = _reflection_v1()

REFLECTION_METHODS: Final = tuple(
    Method(service, "ServerReflectionInfo", None, Kind.WATCH, ("TOO_MANY_WATCHES",))
    for service in (REFLECTION, REFLECTION_V1ALPHA)
)


class HealthService:
    """Whether this process and each of its services are serving. A watcher that does not read blocks no update."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {"": _STATUS.NOT_SERVING}
        self._changed = asyncio.Event()
        self._draining = False

    def add(self, names: Iterable[str]) -> None:
        """Add services, which do not serve yet. They need the database: ADR 40."""
        self._statuses.update(dict.fromkeys(names, _STATUS.NOT_SERVING))

    def start(self) -> None:
        """Report that the process, "", and its services serve."""
        self._show(self._statuses, serves=True)

    def show(self, serves: bool) -> None:  # noqa: FBT001  the form that a duty calls
        """Report whether the services serve; the process itself does in any case. Once the server drains, none does."""
        self._show(filter(None, self._statuses), serves=serves)

    def _show(self, names: Iterable[str], *, serves: bool) -> None:
        status = _STATUS.SERVING if serves and not self._draining else _STATUS.NOT_SERVING
        self._statuses |= dict.fromkeys(names, status)
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Set everything to NOT_SERVING for good."""
        self._draining = True
        self._show(self._statuses, serves=False)

    async def Check(self, request: api.HealthCheckRequest, caller: Caller) -> api.HealthCheckResponse:  # noqa: ARG002  anybody
        status = self._statuses.get(request.service)
        if status is None:
            raise ServiceNotFound(request.service)
        return _STATUS(status=status)

    async def Watch(self, request: api.HealthCheckRequest, caller: Caller) -> AsyncGenerator[list[bytes]]:  # noqa: ARG002  anybody
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _STATUS.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield [_STATUS(status=status).SerializeToString()]
            else:
                await changed.wait()


class ReflectionService:
    """The contract of the services of a listener, for clients that have no stubs.

    It answers both versions as gRPC's own servicer does, with keys, sizes and logs as for other calls.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._servicer: Any = reflection.aio.ReflectionServicer(names)

    async def ServerReflectionInfo(
        self,
        requests: AsyncIterator[Message],
        caller: Caller,  # noqa: ARG002  anybody
    ) -> AsyncGenerator[list[bytes]]:
        as_v1alpha = reflection_pb2.ServerReflectionRequest.FromString
        v1alpha_requests = (as_v1alpha(request.SerializeToString()) async for request in requests)
        async for reply in self._servicer.ServerReflectionInfo(v1alpha_requests, None):
            yield [reply.SerializeToString()]


class _Failure:
    """Stands in for the call's context, on which gRPC's servicer of channelz sets how it failed."""

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        if self._code is grpc.StatusCode.NOT_FOUND:
            raise ConnectionNotFound(details)
        raise RuntimeError(f"channelz failed: {details}")


class ChannelzService:
    """What gRPC knows of the servers and connections of this process; it has each method of gRPC's own servicer."""

    def __getattr__(self, name: str) -> Callable[[Message, Caller], Awaitable[Message]]:
        """Return the method of this name."""
        method = getattr(ChannelzServicer, name)

        async def answer(request: Message, caller: Caller) -> Message:  # noqa: ARG001  the same for all
            reply: Message = method(request, _Failure())
            return reply

        return answer
