"""ListEvents: who did what to which job, across jobs and owners, and in one job."""

from typing import Any

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType, JobEvent
from jobledger.v1.job_service_pb2 import (
    BatchCreateJobsRequest,
    CreateJobRequest,
    EventOrder,
    ListEventsRequest,
)
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ClaimChunksRequest, CompleteChunksRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.pages import pages_of

CANCELLED = ChangeType.CHANGE_TYPE_CANCEL_REQUESTED
CREATED = ChangeType.CHANGE_TYPE_CREATED
CLAIMED = ChangeType.CHANGE_TYPE_CLAIMED
COMPLETED = ChangeType.CHANGE_TYPE_CHUNK_COMPLETED
NEWEST_FIRST = EventOrder.EVENT_ORDER_POSITION_DESC
OLDEST_FIRST = EventOrder.EVENT_ORDER_POSITION_ASC
ANY = [number for number in ChangeType.values() if number]


async def listed(api: Api, page_size: int = 2, **fields: Any) -> list[JobEvent]:
    """Return all events of a filter, read in small pages."""
    order, job_id = fields.pop("order", EventOrder.EVENT_ORDER_UNSPECIFIED), fields.pop("job_id", "")
    request = ListEventsRequest(filter=fields, page_size=page_size, order=order, job_id=job_id)
    pages = [page async for page in pages_of(api.jobs.ListEvents, request)]
    assert max(len(page.events) for page in pages) <= page_size
    events = [event for page in pages for event in page.events]
    positions = [event.position for event in events]
    assert positions == sorted(set(positions), reverse=order != OLDEST_FIRST)
    return events


async def test_a_jobs_events_are_listed_in_both_orders_and_the_newest_first_by_default(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.create(f"{kind}.other")
    await api.complete(*await api.claim(kind))
    oldest_first = await listed(api, 1, job_id=job_id, order=OLDEST_FIRST)
    assert [event.revision for event in oldest_first] == [1, 2, 3]
    assert {event.job_id for event in oldest_first} == {job_id}
    for order in (NEWEST_FIRST, EventOrder.EVENT_ORDER_UNSPECIFIED):
        assert await listed(api, 1, job_id=job_id, order=order) == oldest_first[::-1]


async def test_a_filter_selects_among_the_events_of_a_job(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.create(f"{kind}.other")
    await api.complete(*await api.claim(kind, worker=kind))
    completed, claimed, created = await listed(api, job_id=job_id)
    assert await listed(api, job_id=job_id, change_types=[CREATED]) == [created]
    assert await listed(api, job_id=job_id, actors=[kind]) == [completed, claimed]
    assert await listed(api, job_id=job_id, actors=[kind], change_types=[CLAIMED]) == [claimed]
    assert await listed(api, job_id=job_id, kinds=[f"{kind}.other"]) == []
    later = {"start_time": claimed.commit_time}
    assert await listed(api, job_id=job_id, commit_time=later) == [completed, claimed]
    assert await listed(api, 1, job_id=job_id, actors=[kind], order=OLDEST_FIRST) == [claimed, completed]


async def test_a_token_of_one_job_is_refused_for_another(api: Api, kind: str):
    jobs = [(await api.create(kind)).job_id for _ in range(2)]
    for job_id in jobs:
        await api.cancel(job_id)
    token = (await api.list_events(jobs[0], page_size=1)).next_page_token
    for fields in ({"job_id": jobs[1]}, {}, {"job_id": jobs[0], "order": NEWEST_FIRST}):
        fields.setdefault("order", OLDEST_FIRST)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.jobs.ListEvents(ListEventsRequest(page_token=token, **fields))


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("order", {"order": 9}),
        ("uid", {"uid": "00000000-0000-7000-8000-000000000000"}),
        ("uid", {"job_id": "j", "uid": "no uid"}),
        ("job_id", {"job_id": "no job_id"}),
        ("filter.all_owners", {"job_id": "j", "filter": {"all_owners": True}}),
    ],
)
async def test_a_request_for_events_that_means_nothing_is_refused(api: Api, field: str, fields: dict[str, Any]):
    with invalid(field):
        await api.jobs.ListEvents(ListEventsRequest(**fields))


async def test_events_are_found_by_change_kind_actor_and_time(api: Api, kind: str):
    jobs = [(await api.create(kind)).job_id for _ in range(3)]
    await api.claim(kind, worker=kind)
    await api.cancel(jobs[2])
    of_kind = await listed(api, kinds=[kind], change_types=ANY)
    assert [event.job_id for event in of_kind] == [jobs[2], jobs[0], *jobs[::-1]]
    assert await listed(api, kinds=[kind], change_types=ANY, order=OLDEST_FIRST) == of_kind[::-1]
    assert await listed(api, kinds=[kind]) == [of_kind[0], *of_kind[2:]], "without a claim that goes well"
    assert await listed(api, kinds=[kind], order=OLDEST_FIRST) == [*of_kind[:1:-1], of_kind[0]]
    assert await listed(api, kinds=[kind], change_types=[CANCELLED]) == of_kind[:1]
    assert await listed(api, kinds=[kind], change_types=[CANCELLED, CREATED]) == [of_kind[0], *of_kind[2:]]
    assert await listed(api, actors=[kind]) == []
    assert await listed(api, actors=[kind], change_types=ANY) == of_kind[1:2]
    assert await listed(api, actors=[kind], change_types=[CREATED]) == []
    assert await listed(api, actors=[kind[:-1]]) == [], "a worker's name is meant as a whole"
    third = of_kind[2].commit_time
    for types in (ANY, []):
        meant = of_kind if types else [of_kind[0], *of_kind[2:]]
        later = [event for event in meant if event.position >= of_kind[2].position]
        assert await listed(api, kinds=[kind], change_types=types, commit_time={"start_time": third}) == later
        assert await listed(api, kinds=[kind], change_types=types, commit_time={"end_time": third}) == of_kind[3:]


async def test_an_actor_and_a_type_are_meant_of_one_change(api: Api, kind: str):
    first, second = f"{kind}.1", f"{kind}.2"
    job = await api.create(kind, item_count=2, chunk_size=1)
    [claimed] = await api.claim(kind, worker=first)
    completions = [ChunkCompletion(lease_token=claimed.lease.token)]
    claim = ClaimChunksRequest(job_ids=[job.job_id], max_chunks=1, worker=second)
    await api.work.CompleteChunks(CompleteChunksRequest(completions=completions, claim=claim))
    both, *_ = of_job = await listed(api, kinds=[kind], change_types=ANY)
    assert [(change.type, change.actor) for change in both.changes] == [(COMPLETED, first), (CLAIMED, second)]
    assert await listed(api, actors=[second], change_types=[COMPLETED]) == []
    assert await listed(api, actors=[first], change_types=[CLAIMED]) == [of_job[1]]
    assert await listed(api, actors=[first, second], change_types=[CLAIMED]) == of_job[:2]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("filter.actors[0]", {"actors": [""]}),
        ("filter.change_types[0]", {"change_types": [0]}),
        ("filter.kinds[0]", {"kinds": ["No Kind"]}),
        ("filter.all_owners", {"owner": "o", "all_owners": True}),
    ],
)
async def test_a_filter_of_events_that_means_nothing_is_refused(api: Api, field: str, fields: dict[str, Any]):
    with invalid(field):
        await listed(api, **fields)


async def test_a_token_of_another_filter_is_refused(api: Api, kind: str):
    for _ in range(2):
        await api.create(kind)
    page = await api.jobs.ListEvents(ListEventsRequest(filter={"kinds": [kind]}, page_size=1))
    assert page.next_page_token
    for other in ({"kinds": [kind], "actors": ["a"]}, {"kinds": ["other"]}, {}):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.jobs.ListEvents(ListEventsRequest(filter=other, page_token=page.next_page_token))


@pytest.mark.guarantee("3e.2")
@pytest.mark.parametrize("scope", [{}, {"all_owners": True}])
async def test_a_page_of_an_actor_type_and_kind_is_full_however_many_others_lie_between(
    api: Api, kind: str, scope: dict[str, Any]
):
    async def cancelled(reason: str) -> str:
        job_id = (await api.create(kind)).job_id
        await api.cancel(job_id, reason=reason)
        return job_id

    ids = [await cancelled("before") for _ in range(3)]
    others = [CreateJobRequest(kind=f"{kind}.other", item_count=1) for _ in range(400)]
    for _ in range(3):
        await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=others))
    ids += [await cancelled("after") for _ in range(2)]
    for types in ([CREATED], [CANCELLED], [CREATED, CANCELLED]):
        for order, expected in ((NEWEST_FIRST, ids[::-1]), (OLDEST_FIRST, ids)):
            for actors in ([], ["caller"], ["nobody", "caller"]):
                filter_ = {"kinds": [kind], "change_types": types, "actors": actors, **scope}
                wanted = [one for one in expected for _ in types]
                request = ListEventsRequest(filter=filter_, page_size=len(wanted), order=order)
                page = await api.jobs.ListEvents(request)
                assert [event.job_id for event in page.events] == wanted
                assert not page.next_page_token
                assert [event.job_id for event in await listed(api, 3, order=order, **filter_)] == wanted


async def test_more_combinations_than_a_call_walks_are_refused(api: Api):
    fields = {"actors": [f"a{n}" for n in range(20)], "kinds": [f"k{n}" for n in range(100)]}
    assert await listed(api, change_types=[CREATED], **fields) == []
    with invalid("filter"):
        await listed(api, change_types=[CREATED, CANCELLED], **fields)
