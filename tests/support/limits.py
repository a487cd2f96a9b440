"""Concurrency limits in tests."""

from jobledger.v1.job_pb2 import Job
from jobledger.v1.limit_scope_pb2 import LimitScope
from jobledger.v1.limit_service_pb2 import DeleteLimitRequest, Limit, ListLimitsRequest, SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.support.api import Api
from tests.support.pages import pages_of


def kind_scope(kind: str) -> LimitScope:
    return LimitScope(kind=kind)


def label_scope(name: str, value: str) -> LimitScope:
    return LimitScope(label=LimitScope.Label(name=name, value=value))


def each_scope(label: str) -> LimitScope:
    return LimitScope(each_value_of_label=label)


async def set_limit(api: Api, scope: LimitScope, limit: int) -> Limit:
    request = SetLimitRequest(scope=scope, max_running=limit)
    return counted((await LimitServiceStub(api.channel).SetLimit(request)).limit)


def counted(limit: Limit) -> Limit:
    """Return a limit without its ceiling, and why, by whom and when it was set."""
    for field in ("reason", "set_by", "update_time", "ceiling"):
        limit.ClearField(field)
    return limit


async def delete_limit(api: Api, scope: LimitScope) -> None:
    await LimitServiceStub(api.channel).DeleteLimit(DeleteLimitRequest(scope=scope))


async def limit(api: Api, scope: LimitScope) -> Limit | None:
    return next((one for one in await listed_limits(api) if one.scope == scope), None)


async def listed_limits(api: Api, page_size: int = 0) -> list[Limit]:
    """Return all limits, page by page."""
    request = ListLimitsRequest(page_size=page_size)
    pages = [page.limits async for page in pages_of(LimitServiceStub(api.channel).ListLimits, request)]
    assert max(map(len, pages)) <= (page_size or 100)
    return [counted(limit) for limits in pages for limit in limits]


async def granted(api: Api, job_id: str) -> Job:
    """Wait until a job has a slot."""
    async with api.watch_job(job_id) as watch:
        messages = await watch.through(lambda message: not message.job.holds)
    return messages[-1].job


async def places(api: Api, *jobs: Job) -> list[int]:
    shown = [await api.get(job.job_id) for job in jobs]
    return [job.holds[0].place if job.holds else 0 for job in shown]
