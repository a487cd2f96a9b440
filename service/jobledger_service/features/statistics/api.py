"""GetJobStats, a method of JobService."""

from dataclasses import dataclass

from jobledger.v1 import stats_pb2

from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.transport.identity import Caller

from . import replies, requests


@dataclass(frozen=True, slots=True)
class StatisticsCalls:
    """The method of JobService for figures."""

    queries: Queries
    clock: Clock

    async def GetJobStats(self, request: stats_pb2.GetJobStatsRequest, caller: Caller) -> bytes:
        now = self.clock()
        query = requests.query(request, caller, now)
        return await self.queries.figures(query, lambda figures: replies.reply(query, figures, now).SerializeToString())
