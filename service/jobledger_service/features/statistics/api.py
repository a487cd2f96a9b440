"""GetJobStats, a method of JobService."""

from typing import Final

from jobledger.v1 import stats_pb2
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import replies, requests
from .rules import StatsQuery
from .store import SqlStatisticsStore

METHODS: Final = (Method(JOB_SERVICE, "GetJobStats", Role.CALLER, Kind.READ),)


class StatisticsCalls(MsgStruct, frozen=True):
    """The method of JobService for figures."""

    store: SqlStatisticsStore
    kernel: Kernel

    async def GetJobStats(self, request: stats_pb2.GetJobStatsRequest, caller: Caller) -> bytes:
        now = self.kernel.clock()
        query = requests.query(request, caller, now)
        return await self.kernel.readers.for_owner(query.owner, self._reply, query, now)

    def _reply(self, query: StatsQuery, now: int) -> bytes:
        return replies.reply(query, self.store.figures(query), now).SerializeToString()
