"""GetSystemHealth, a method of AdminService."""

from typing import Final

from jobledger.v1 import system_health_pb2
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .checker import HealthChecker
from .replies import system_health

METHODS: Final = (Method(ADMIN_SERVICE, "GetSystemHealth", Role.ADMIN, Kind.READ, reserved=True),)


class HealthCalls(MsgStruct, frozen=True):
    """The method of AdminService about the health of this server, which runs since `start_time`."""

    checker: HealthChecker
    database_kind: str
    start_time: int

    async def GetSystemHealth(
        self,
        request: system_health_pb2.GetSystemHealthRequest,  # noqa: ARG002  it asks nothing more
        caller: Caller,  # noqa: ARG002  it is the same for all
    ) -> system_health_pb2.GetSystemHealthResponse:
        health = system_health(await self.checker.check(), self.database_kind, self.start_time)
        return system_health_pb2.GetSystemHealthResponse(health=health)
