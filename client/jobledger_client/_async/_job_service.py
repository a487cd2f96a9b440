"""JobService, as all calls on jobs share it."""

from typing import TYPE_CHECKING

from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client._async._caller import AsyncCaller

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncJobService:
    """The stub of JobService, and what calls it."""

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._stub = JobServiceStub(channel)
        self._caller = caller
