"""The call for statistics of many jobs."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.stats_pb2 import GetJobStatsRequest, GetJobStatsResponse

from jobledger_client import _values as values
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._generated._enums import StatsStep

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncStatisticsCalls:
    """What the service counts and measures."""

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._stub = JobServiceStub(channel)
        self._caller = caller

    async def get_job_stats(
        self,
        *,
        kinds: Iterable[str] = (),
        time_range: values.TimeRangeLike | None = None,
        step: StatsStep | None = None,
        owner: str = "",
        include_service_jobs: bool = False,
        series_by_kind: bool = False,
        timeout: timedelta | None = None,
    ) -> GetJobStatsResponse:
        """Return how many jobs there are now, and what happened in a time range: in total and by kind.

        `kinds` are at most 100; empty means all but the service's own, which `include_service_jobs` adds. `time_range`
        is (start, end), widened to whole hours of UTC; the last 24 hours when None. `step`, HOUR or DAY, adds a series
        of at most 2,000 points; `series_by_kind` adds one for each kind too, as many as have 2,000 points together.
        `total.failures` are the failed runs by error code and stage, each with an example job. `owner` is whose jobs,
        the key's own when empty; another owner needs an admin's key. The cost does not depend on the number of jobs.
        Raises InvalidFieldError, RoleMissingError.
        """
        request = GetJobStatsRequest(
            kinds=kinds,
            time_range=values.time_range(time_range),
            step=values.number(step),
            owner=owner,
            include_service_jobs=include_service_jobs,
            series_by_kind=series_by_kind,
        )
        return await self._caller.call(self._stub.GetJobStats, request, timeout=timeout)
