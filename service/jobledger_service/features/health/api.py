"""GetSystemHealth, a method of AdminService."""

from dataclasses import dataclass

from jobledger.v1 import system_health_pb2

from jobledger_service.transport.identity import Caller

from .checker import Checkup
from .replies import About, system_health


@dataclass(frozen=True, slots=True)
class HealthCalls:
    """What AdminService tells of the health of the server that this is about."""

    checkup: Checkup
    about: About

    async def GetSystemHealth(
        self,
        request: system_health_pb2.GetSystemHealthRequest,  # noqa: ARG002  it asks nothing more
        caller: Caller,  # noqa: ARG002  it is the same for all
    ) -> system_health_pb2.GetSystemHealthResponse:
        found = await self.checkup.look()
        return system_health_pb2.GetSystemHealthResponse(health=system_health(found, self.about))
