# Generated from _async/_job_service.py by client/generate_sync.py: edit that module, then run `make gen`.
"""JobService, as all calls on jobs share it."""

from typing import TYPE_CHECKING

from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class JobService:
    """The stub of JobService, and what calls it."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = JobServiceStub(channel)
        self._caller = caller
