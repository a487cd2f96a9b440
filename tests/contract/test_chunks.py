"""ListChunks: a job's chunks by index, by state, page by page."""

from uuid import uuid4

import grpc
import pytest
from jobledger.v1.job_service_pb2 import ListChunksResponse
from jobledger.v1.limit_service_pb2 import PauseKindRequest, ResumeKindRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import CHUNK_COMPLETED, CHUNK_FAILED, CHUNK_PENDING, CHUNK_PROCESSING


async def page(api: Api, job_id: str, **fields: object) -> ListChunksResponse:
    """Return one page of a job's chunks."""
    return await api.list_chunks(job_id, **fields)


def indexes(*answers: ListChunksResponse) -> list[int]:
    """Return the chunks' indexes, in order."""
    return [chunk.index for answer in answers for chunk in answer.chunks]


async def test_the_pages_follow_on_by_index(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=1_101, chunk_size=1)).job_id
    first = await page(api, job_id)
    assert indexes(first) == list(range(100))
    second = await page(api, job_id, page_token=first.next_page_token, page_size=5_000)
    assert indexes(second) == list(range(100, 1_100))
    last = await page(api, job_id, page_token=second.next_page_token)
    assert indexes(last) == [1_100]
    assert not last.next_page_token


async def test_the_chunks_are_those_of_the_job(api: Api, kind: str):
    job_id = (await api.create(kind, chunks=[{"input": {"n": 1}}, {"item_count": 9}])).job_id
    await api.claim(kind)
    assert list((await page(api, job_id)).chunks) == list((await api.get(job_id)).chunks)


async def test_by_state(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=6, chunk_size=1)).job_id
    claimed = await api.claim(kind, 3)
    await api.complete(claimed[0])
    await api.fail(claimed[1], not_retryable=True)
    assert indexes(await page(api, job_id, states=[CHUNK_COMPLETED])) == [0]
    assert indexes(await page(api, job_id, states=[CHUNK_PROCESSING])) == [2]
    first = await page(api, job_id, states=[CHUNK_PENDING, CHUNK_FAILED], page_size=2)
    rest = await page(api, job_id, states=[CHUNK_PENDING, CHUNK_FAILED], page_token=first.next_page_token)
    assert indexes(first, rest) == [1, 3, 4, 5]


async def test_the_claimable_ones_are_those_that_claims_get_next(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=7, chunk_size=1)).job_id
    done, delayed, _ = await api.claim(kind, 3)
    await api.complete(done)
    await api.fail(delayed, retry_delay={"seconds": 3_600})
    first = await page(api, job_id, claimable=True, page_size=3)
    rest = await page(api, job_id, claimable=True, page_token=first.next_page_token)
    assert (indexes(first), indexes(rest)) == ([3, 4, 5], [6])
    assert [claimed.chunk.index for claimed in await api.claim(kind, 2)] == [3, 4]
    assert indexes(await page(api, job_id, claimable=True, states=[CHUNK_PENDING])) == [5, 6]
    assert indexes(await page(api, job_id, claimable=True, states=[CHUNK_COMPLETED])) == []
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await page(api, job_id, page_token=first.next_page_token)


async def test_no_chunk_of_a_job_on_hold_or_of_a_paused_kind_is_claimable(api: Api, kind: str):
    finalizer, held = await api.create(kind, item_count=2, chunk_size=1, finalizer={}), f"{kind}.held"
    assert indexes(await page(api, finalizer.job_id, claimable=True)) == [0, 1]
    scheduled = await api.create(held, schedule_time={"seconds": 4_000_000_000})
    assert indexes(await page(api, scheduled.job_id, claimable=True)) == []
    limits = LimitServiceStub(api.channel)
    await limits.PauseKind(PauseKindRequest(kind=kind))
    assert indexes(await page(api, finalizer.job_id, claimable=True)) == []
    await limits.ResumeKind(ResumeKindRequest(kind=kind))
    assert indexes(await page(api, finalizer.job_id, claimable=True)) == [0, 1]


async def test_a_job_that_does_not_exist_is_not_found(api: Api):
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await page(api, uuid4().hex)


async def test_a_token_of_another_job_or_other_states_is_refused(api: Api, kind: str):
    job_id, other = [(await api.create(kind, item_count=3, chunk_size=1)).job_id for _ in range(2)]
    token = (await page(api, job_id, page_size=1)).next_page_token
    for job, states in ((other, []), (job_id, [CHUNK_PENDING])):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await page(api, job, states=states, page_token=token)


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("job_id", {"job_id": ""}),
        ("states[0]", {"states": [0]}),
        ("states[1]", {"states": [1, 99]}),
        ("page_size", {"page_size": -1}),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str, field: str, broken: dict[str, object]):
    job_id = (await api.create(kind)).job_id
    with invalid(field):
        await page(api, **({"job_id": job_id} | broken))
