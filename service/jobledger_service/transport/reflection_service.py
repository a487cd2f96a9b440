"""grpc.reflection: the contract of the services that a listener has, for clients that have no stubs.

The installed package has v1alpha alone. v1, which many clients ask first, is the same under another name.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from .identity import Caller


def describe_v1() -> ServiceDescriptor:
    """Return the descriptor of v1, made from that of v1alpha."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    _rename(file)
    added: Any = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    service: ServiceDescriptor = added.services_by_name["ServerReflection"]
    return service


def _rename(part: Message) -> None:
    """Replace v1alpha by v1 in all texts of a descriptor."""
    for field, value in part.ListFields():
        if isinstance(value, str):
            setattr(part, field.name, value.replace("v1alpha", "v1"))
        elif field.message_type is not None:
            for one in value if field.is_repeated else (value,):
                _rename(one)


class ReflectionService:
    """Answers both versions as gRPC's own servicer does, with keys, sizes and logs as for other calls."""

    def __init__(self, names: Iterable[str]) -> None:
        self._servicer: Any = reflection.aio.ReflectionServicer(names)

    async def ServerReflectionInfo(
        self,
        requests: AsyncIterator[Message],
        caller: Caller,  # noqa: ARG002  anybody
    ) -> AsyncGenerator[bytes]:
        async for reply in self._servicer.ServerReflectionInfo(_as_v1alpha(requests), None):
            yield reply.SerializeToString()


async def _as_v1alpha(requests: AsyncIterator[Message]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for request in requests:
        yield reflection_pb2.ServerReflectionRequest.FromString(request.SerializeToString())
