"""GetJobStats, a method of JobService."""

from dataclasses import dataclass
from typing import Final

from jobledger.v1 import stats_pb2

from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.store.clock import Clock
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import replies, requests
from .rules import StatsQuery
from .store import SqlStatisticsStore

METHODS: Final = (Method(JOB_SERVICE, "GetJobStats", Role.CALLER, Kind.READ),)


@dataclass(frozen=True, slots=True)
class StatisticsCalls:
    """The method of JobService for figures."""

    store: SqlStatisticsStore
    queries: Queries
    clock: Clock

    async def GetJobStats(self, request: stats_pb2.GetJobStatsRequest, caller: Caller) -> bytes:
        now = self.clock()
        query = requests.query(request, caller, now)
        return await self.queries.run_for(query.owner, self._reply, query, now)

    def _reply(self, query: StatsQuery, now: int) -> bytes:
        return replies.reply(query, self.store.figures(query), now).SerializeToString()
