"""An owner with an API key, as the measures of isolation call the service."""

from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import worker_service_pb2 as work_api

from .jobs import JOBS, LEASE, WORK, WORKER
from .targets import CONNECTIONS, MAX_MESSAGE_BYTES, Channel, Stream, Streaming, Unary

if TYPE_CHECKING:
    Exchanging = grpc.aio.StreamStreamMultiCallable[bytes, bytes]
else:
    Exchanging = Any

TIMEOUT: Final = 10.0
"""The deadline of a call, in seconds."""

Reply = TypeVar("Reply", bound=Message)


class Owner:
    """A key, and connections of its own."""

    def __init__(self, address: str, token: str, connections: int = CONNECTIONS) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES))
        self._channels: list[Channel] = [
            grpc.aio.insecure_channel(address, options=options) for _ in range(connections)
        ]
        self._unary: dict[tuple[str, int], Unary] = {}

    async def send(self, path: str, request: bytes, slot: int = 0) -> bytes:
        """Make a call with bytes for messages."""
        place = (path, slot % len(self._channels))
        if place not in self._unary:
            self._unary[place] = self._channels[place[1]].unary_unary(path)
        reply: bytes = await self._unary[place](request, metadata=self._metadata, timeout=TIMEOUT)
        return reply

    async def call(self, path: str, request: Message, form: type[Reply], slot: int = 0) -> Reply:
        """Make a call."""
        return form.FromString(await self.send(path, request.SerializeToString(), slot))

    def stream(self, path: str, request: bytes, slot: int = 0) -> Stream:
        """Open a stream of bytes."""
        method: Streaming = self._channels[slot % len(self._channels)].unary_stream(path)
        return method(request, metadata=self._metadata)

    async def exchange(self, path: str, request: bytes, slot: int = 0) -> None:
        """Send one message in a stream of both directions, and read until it ends."""
        method: Exchanging = self._channels[slot % len(self._channels)].stream_stream(path)
        async for _ in method(iter([request]), metadata=self._metadata, timeout=TIMEOUT):
            pass

    async def create(self, request: jobs_api.CreateJobRequest) -> str:
        """Create a job, and return its id."""
        reply = await self.call(f"{JOBS}/CreateJob", request, jobs_api.CreateJobResponse)
        return reply.job.job_id

    async def claim(self, kind: str, count: int) -> list[str]:
        """Claim chunks of a kind, and return their lease tokens."""
        request = work_api.ClaimChunksRequest(kinds=[kind], max_chunks=count, worker=WORKER, lease_duration=LEASE)
        reply = await self.call(f"{WORK}/ClaimChunks", request, work_api.ClaimChunksResponse)
        return [chunk.lease.token for chunk in reply.chunks]

    async def cursor(self) -> bytes:
        """Return where the ledger's history ends now."""
        request = jobs_api.ListJobsRequest(page_size=1)
        return (await self.call(f"{JOBS}/ListJobs", request, jobs_api.ListJobsResponse)).cursor

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()
