"""grpc.reflection.v1alpha: the contract of the services that a listener has, for clients that have no stubs."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from .identity import Caller


class ReflectionService:
    """Answers as gRPC's own servicer does, which knows nothing of keys, sizes and logs."""

    def __init__(self, names: Iterable[str]) -> None:
        self._servicer: Any = reflection.aio.ReflectionServicer(names)

    async def ServerReflectionInfo(
        self,
        requests: AsyncIterator[reflection_pb2.ServerReflectionRequest],
        caller: Caller,  # noqa: ARG002  anybody
    ) -> AsyncGenerator[bytes]:
        async for reply in self._servicer.ServerReflectionInfo(requests, None):
            yield reply.SerializeToString()
