"""ListJobs: pages that follow on, in every order, and tokens that belong to their request."""

import grpc
import pytest
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, JobOrder, ListJobsRequest, ListJobsResponse

from tests.bulk.runs import create_many
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import QUEUED

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


async def page(api: Api, kind: str, **fields: object) -> ListJobsResponse:
    """Return one page of the jobs of a kind."""
    return await api.list_jobs(filter={"kinds": [kind]}, **fields)


async def pages(api: Api, kind: str, **fields: object) -> list[ListJobsResponse]:
    """Return all pages of the jobs of a kind."""
    found = [await page(api, kind, **fields)]
    while found[-1].next_page_token:
        found.append(await page(api, kind, page_token=found[-1].next_page_token, **fields))
    return found


def ids(*answers: ListJobsResponse) -> list[str]:
    """Return the job ids of pages, in order."""
    return [job.job_id for answer in answers for job in answer.jobs]


def by(name: str, job: Job) -> tuple[float, int, str]:
    """Return what a job sorts by, ascending."""
    value: float = job.create_time.ToNanoseconds()
    if name == "UPDATE_TIME":
        value = job.update_time.ToNanoseconds()
    elif name == "END_TIME":
        value = job.end_time.ToNanoseconds() if job.HasField("end_time") else float("inf")
    elif name == "PRIORITY":
        value = job.priority
    return value, job.create_time.ToNanoseconds(), job.job_id


async def twelve_jobs(api: Api, kind: str) -> list[Job]:
    """Return jobs of four priorities, of which some have ended and some were changed out of their order."""
    made = [await api.create(kind, priority=n % 4, item_count=1) for n in range(12)]
    for n in (7, 2, 5):
        await api.cancel(made[n].job_id)
    for n in (9, 1):
        mask = {"paths": ["display_name"]}
        await api.update(made[n].job_id, update_mask=mask, display_name="x")
    return [await api.get(job.job_id) for job in made]


@pytest.mark.parametrize("order", JobOrder.keys()[1:])
async def test_the_pages_of_every_order_follow_on(api: Api, kind: str, order: str):
    jobs = await twelve_jobs(api, kind)
    name, _, direction = order.removeprefix("JOB_ORDER_").rpartition("_")
    expected = [job.job_id for job in sorted(jobs, key=lambda job: by(name, job), reverse=direction == "DESC")]
    for size in (1, 5, 12, 500):
        found = await pages(api, kind, order=JobOrder.Value(order), page_size=size)
        assert ids(*found) == expected
        assert [len(answer.jobs) for answer in found[:-1]] == [size] * (len(found) - 1)


async def test_the_default_is_the_newest_hundred(api: Api, kind: str):
    created = await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=[{"kind": kind}] * 102))
    made = [result.job.job_id for result in created.results]
    first, second = await pages(api, kind)
    assert ids(first) == made[:1:-1]
    assert ids(second) == made[1::-1]


async def test_no_jobs_are_one_empty_page_with_a_cursor(api: Api, kind: str):
    answer = await page(api, kind)
    assert not answer.jobs
    assert (answer.next_page_token, answer.total_size, answer.total_is_lower_bound) == ("", 0, False)
    assert answer.cursor


async def test_later_pages_are_as_of_the_first_whatever_their_size(api: Api, kind: str):
    made = [(await api.create(kind)).job_id for _ in range(5)]
    first = await page(api, kind, page_size=2)
    await api.create(kind)
    rest = await page(api, kind, page_size=500, page_token=first.next_page_token)
    assert ids(first, rest) == made[::-1]
    assert first.total_size == rest.total_size == 5
    assert first.cursor == rest.cursor


async def test_the_view_is_basic_unless_full_is_asked_for(api: Api, kind: str):
    job_id = (await api.create(kind, input={"a": 1}, item_count=600)).job_id
    [basic] = (await page(api, kind)).jobs
    assert not basic.HasField("input")
    assert not basic.chunks
    [full] = (await page(api, kind, view=JobView.JOB_VIEW_FULL)).jobs
    assert full == await api.get(job_id)


async def test_a_page_has_500_jobs_at_most_and_all_are_counted_where_counting_is_cheap(api: Api, kind: str):
    await create_many(api, kind, 1_000)
    first = await page(api, kind, page_size=2_000_000)
    assert len(first.jobs) == 500
    assert (first.total_size, first.total_is_lower_bound) == (1_000, False)
    await api.create(kind)
    found = await pages(api, kind, page_size=501)
    assert (found[0].total_size, found[0].total_is_lower_bound) == (1_001, False)
    assert len(set(ids(*found))) == len(ids(*found)) == 1_001
    wanted = {"kinds": [kind], "min_priority": 1}
    other = await api.list_jobs(filter=wanted)
    assert (other.total_size, other.total_is_lower_bound) == (1_000, True)


async def test_a_token_of_another_request_is_refused(api: Api, kind: str):
    for _ in range(3):
        await api.create(kind)
    token = (await page(api, kind, page_size=1)).next_page_token
    wanted = {"kinds": [kind]}
    others = [
        ListJobsRequest(filter={"kinds": [kind], "states": [QUEUED]}),
        ListJobsRequest(filter={"kinds": [kind], "max_priority": 9}),
        ListJobsRequest(filter=wanted, order=JobOrder.JOB_ORDER_PRIORITY_DESC),
        ListJobsRequest(filter=wanted, order=JobOrder.JOB_ORDER_CREATE_TIME_ASC),
        ListJobsRequest(),
    ]
    for other in others:
        other.page_token = token
        with refused(INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.jobs.ListJobs(other)


async def test_a_damaged_token_is_refused(api: Api, kind: str):
    for _ in range(2):
        await api.create(kind)
    token = (await page(api, kind, page_size=1)).next_page_token
    middle = len(token) // 2
    flipped = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for damaged in ("x", "💥", "AAAA", token[:-3], token + "AAAA", flipped, "x" * 10_000):
        with refused(INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await page(api, kind, page_token=damaged)


async def test_a_request_that_breaks_a_rule_is_refused(api: Api):
    with invalid("page_size"):
        await api.list_jobs(page_size=-1)
    with invalid("order"):
        await api.list_jobs(order=99)
    with invalid("view"):
        await api.list_jobs(view=99)
