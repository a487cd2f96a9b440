"""Jobs of the service's own kinds are left out of all that is about many jobs, unless they are asked for or named."""

import json

import grpc
import pytest
from jobledger.v1.bulk_pb2 import CancelJobsRequest, DeleteJobsRequest
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import (
    JOB_ORDER_PRIORITY_ASC,
    JOB_ORDER_PRIORITY_DESC,
    WatchJobsRequest,
    WatchMessageType,
)
from jobledger.v1.stats_pb2 import STATS_STEP_HOUR

from tests.bulk.runs import ended
from tests.conftest import StartServer
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.watching import Watch

BULK = "jobledger.bulk"
ASKED_FOR = [JobFilter(include_service_jobs=True), JobFilter(kinds=[BULK, "a.kind"])]


@pytest.fixture
def fresh(start_server: StartServer, connect: Connect) -> Api:
    """Return the API of a server on a database of its own."""
    return connect(start_server())


async def with_a_run(api: Api) -> tuple[list[str], str]:
    """Create two jobs and a run over them; return their ids, and the run's."""
    ids = [(await api.create("a.kind")).job_id for _ in range(2)]
    run = (await api.jobs.CancelJobs(CancelJobsRequest(filter={"kinds": ["a.kind"]}))).job.job_id
    await ended(api, run)
    return ids, run


async def listed(api: Api, wanted: JobFilter, **fields: object) -> tuple[set[str], int]:
    answer = await api.list_jobs(filter=wanted, **fields)
    return {job.job_id for job in answer.jobs}, answer.total_size


async def exported(api: Api, wanted: JobFilter) -> set[str]:
    request = ExportJobsRequest(filter=wanted, format=ExportFormat.EXPORT_FORMAT_JSON_LINES, columns=["job_id"])
    data = b"".join([piece.data async for piece in api.jobs.ExportJobs(request)])
    return {json.loads(line)["job_id"] for line in data.splitlines()}


async def seen(api: Api, wanted: JobFilter) -> set[str]:
    """Return the jobs of a watch's snapshots, which end with its first bookmark."""
    async with Watch(api.jobs.WatchJobs(WatchJobsRequest(filter=wanted))) as watch:
        found: set[str] = set()
        while (message := await watch.message()).type != WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK:
            found.add(message.job.job_id)
        return found


async def test_jobs_of_the_service_are_left_out_unless_they_are_asked_for_or_named(fresh: Api):
    ids, run = await with_a_run(fresh)
    for fields in ({}, {"order": JOB_ORDER_PRIORITY_DESC}, {"page_size": 2}, {"order": JOB_ORDER_PRIORITY_ASC}):
        assert await listed(fresh, JobFilter(), **fields) == (set(ids), 2)
    assert await listed(fresh, JobFilter(search="CancelJobs")) == (set(), 0)
    assert await listed(fresh, JobFilter(search="CancelJobs", include_service_jobs=True)) == ({run}, 1)
    assert await exported(fresh, JobFilter()) == set(ids)
    assert await seen(fresh, JobFilter()) == set(ids)
    for wanted in ASKED_FOR:
        assert await listed(fresh, wanted) == ({*ids, run}, 3)
        assert await exported(fresh, wanted) == {*ids, run}
        assert await seen(fresh, wanted) == {*ids, run}


async def test_a_watch_without_service_jobs_follows_their_events(fresh: Api):
    cursor = (await fresh.list_jobs()).cursor
    ids, run = await with_a_run(fresh)
    last = (await fresh.create("a.kind")).job_id
    reported = {}
    for requested in (False, True):
        request = WatchJobsRequest(filter=JobFilter(include_service_jobs=requested), cursor=cursor)
        async with Watch(fresh.jobs.WatchJobs(request)) as watch:
            messages = [await watch.message()]
            while messages[-1].job.job_id != last:
                messages.append(await watch.message())
        reported[requested] = {message.job.job_id for message in messages} - {""}
    assert reported == {False: {*ids, last}, True: {*ids, run, last}}


async def test_statistics_leave_out_the_kinds_of_the_service(fresh: Api):
    await with_a_run(fresh)
    plain = await fresh.stats(step=STATS_STEP_HOUR)
    every = await fresh.stats(step=STATS_STEP_HOUR, include_service_jobs=True)
    named = await fresh.stats(kinds=[BULK])
    assert [one.kind for one in plain.kinds] == ["a.kind"]
    assert [one.kind for one in every.kinds] == ["a.kind", BULK]
    assert [one.kind for one in named.kinds] == [BULK]
    assert [one.total.activity.created for one in (plain, every, named)] == [2, 3, 1]
    assert [sum(point.activity.created for point in one.series) for one in (plain, every)] == [2, 3]


async def test_a_run_that_would_change_no_job_is_not_begun(fresh: Api, kind: str):
    for request in (CancelJobsRequest(filter={"kinds": [kind]}), CancelJobsRequest(job_ids=["no-such-job"])):
        answer = await fresh.jobs.CancelJobs(request)
        assert (answer.matched_count, answer.HasField("job")) == (0, False)
    assert await listed(fresh, JobFilter(include_service_jobs=True)) == (set(), 0)


async def test_a_repeated_request_names_its_run_when_nothing_matches_any_more(fresh: Api, kind: str):
    job = await fresh.create(kind)
    request = DeleteJobsRequest(filter={"kinds": [kind]}, force=True, request_id="once")
    first = await fresh.jobs.DeleteJobs(request)
    await ended(fresh, first.job.job_id)
    assert await listed(fresh, JobFilter(kinds=[job.kind])) == (set(), 0)
    again = await fresh.jobs.DeleteJobs(request)
    assert (again.job.job_id, again.matched_count) == (first.job.job_id, 0)
    request.filter.min_priority = 1
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await fresh.jobs.DeleteJobs(request)


async def test_no_run_asks_for_jobs_of_the_service(api: Api, kind: str):
    with invalid("filter.include_service_jobs"):
        await api.jobs.CancelJobs(CancelJobsRequest(filter={"min_priority": 1, "include_service_jobs": True}))
