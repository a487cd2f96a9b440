"""CompleteChunks, FailChunks and ReleaseChunks that ask for the next chunks: both happen in one commit."""

from datetime import timedelta

import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_service_pb2 import EventOrder
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksRequest,
    CompleteChunksResponse,
    FailChunksRequest,
    ReleaseChunksRequest,
)

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.states import (
    CANCELLED,
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    COMPLETED,
    LEASE_LOST,
    OK,
    RUNNING,
    chunk_states,
)

CLAIMED, CHUNK_RELEASED = ChangeType.CHANGE_TYPE_CLAIMED, ChangeType.CHANGE_TYPE_CHUNK_RELEASED


async def complete(api: Api, *tokens: str, **claim: object) -> CompleteChunksResponse:
    """Complete chunks and claim the next ones."""
    completions = [ChunkCompletion(lease_token=token) for token in tokens]
    request = CompleteChunksRequest(completions=completions, claim=ClaimChunksRequest(worker="w", **claim))
    return await api.work.CompleteChunks(request)


def tokens(claimed: list[ClaimedChunk]) -> list[str]:
    return [one.lease.token for one in claimed]


@pytest.mark.guarantee("3c.2")
async def test_a_worker_drains_a_job_with_one_call_and_one_commit_for_each_chunk(api: Api, kind: str):
    job = await api.create(kind, item_count=4, chunk_size=1, input={"bucket": "photos"})
    claimed = await api.claim(kind)
    before = (await api.get(job.job_id)).revision
    for commit in 1, 2, 3:
        response = await complete(api, claimed[0].lease.token, kinds=[kind], lease_duration=timedelta(hours=1))
        assert [result.status for result in response.results] == [OK]
        claimed = list(response.claimed)
        [one] = claimed
        assert (one.job_id, one.chunk.index, dict(one.job_input)) == (job.job_id, commit, {"bucket": "photos"})
        assert one.lease.expire_time.ToDatetime() - one.chunk.start_time.ToDatetime() == timedelta(hours=1)
        stored = await api.get(job.job_id)
        assert (stored.state, stored.revision) == (RUNNING, before + commit)
    last = await complete(api, claimed[0].lease.token, kinds=[kind])
    assert ([result.status for result in last.results], list(last.claimed)) == ([OK], [])
    assert (await api.get(job.job_id)).state == COMPLETED


async def test_the_next_chunks_come_in_the_order_of_claims(api: Api, kind: str):
    await api.create(kind, item_count=2, chunk_size=1)
    held = await api.claim(kind, 2)
    low, high = await api.create(kind), await api.create(kind, priority=10)
    response = await complete(api, *tokens(held), kinds=[kind], max_chunks=10)
    assert [one.job_id for one in response.claimed] == [high.job_id, low.job_id]


async def test_the_next_chunks_of_named_jobs(api: Api, kind: str):
    mine = await api.create(kind, item_count=2, chunk_size=1)
    [held] = await api.claim(kind)
    await api.create(kind, priority=10)
    response = await complete(api, held.lease.token, job_ids=[mine.job_id])
    assert [(one.job_id, one.chunk.index) for one in response.claimed] == [(mine.job_id, 1)]


async def test_a_lost_lease_is_reported_and_the_next_chunk_is_leased(api: Api, kind: str):
    await api.create(kind)
    [held] = await api.claim(kind)
    await api.release(held)
    response = await complete(api, held.lease.token, kinds=[kind])
    assert [result.status for result in response.results] == [LEASE_LOST]
    [claimed] = response.claimed
    assert (claimed.chunk.attempt, claimed.lease.token != held.lease.token) == (1, True)


async def test_a_repeated_call_completes_once_and_claims_again(api: Api, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1)
    [held] = await api.claim(kind)
    first = await complete(api, held.lease.token, kinds=[kind])
    again = await complete(api, held.lease.token, kinds=[kind])
    assert [first.results[0].status, again.results[0].status] == [OK, OK]
    assert [one.chunk.index for one in (*first.claimed, *again.claimed)] == [1, 2]
    assert chunk_states(await api.get(job.job_id))[0] == CHUNK_COMPLETED


async def test_a_failed_attempt_and_the_next_chunk(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    [held] = await api.claim(kind)
    failure = ChunkFailure(lease_token=held.lease.token, error={"code": "BOOM"}, not_retryable=True)
    claim = ClaimChunksRequest(kinds=[kind], worker="w", max_chunks=5)
    response = await api.work.FailChunks(FailChunksRequest(failures=[failure], claim=claim))
    assert [result.chunk_state for result in response.results] == [CHUNK_FAILED]
    assert [one.chunk.index for one in response.claimed] == [1]
    assert chunk_states(await api.get(job.job_id))[0] == CHUNK_FAILED


async def test_a_released_chunk_and_the_next_one_in_one_commit(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    [held] = await api.claim(kind)
    before = (await api.get(job.job_id)).revision
    release = ChunkRelease(lease_token=held.lease.token, delay=timedelta(hours=1), reason="no space")
    claim = ClaimChunksRequest(kinds=[kind], worker="w", max_chunks=5)
    request = ReleaseChunksRequest(releases=[release], claim=claim)
    response = await api.work.ReleaseChunks(request)
    assert [(result.status, result.chunk_state) for result in response.results] == [(OK, CHUNK_PENDING)]
    assert [one.chunk.index for one in response.claimed] == [1]
    assert (await api.get(job.job_id)).revision == before + 1
    [event] = (await api.list_events(job.job_id, order=EventOrder.EVENT_ORDER_POSITION_DESC, page_size=1)).events
    assert [change.type for change in event.changes] == [CHUNK_RELEASED, CLAIMED]
    again = await api.work.ReleaseChunks(request)
    assert ([result.status for result in again.results], list(again.claimed)) == ([OK], [])


async def test_a_repeated_release_returns_the_same_next_chunks(api: Api, kind: str):
    await api.create(kind, item_count=3, chunk_size=1)
    [held] = await api.claim(kind)
    release = ChunkRelease(lease_token=held.lease.token, delay=timedelta(hours=1))
    claim = ClaimChunksRequest(kinds=[kind], worker="w", request_id=kind)
    answers = [await api.work.ReleaseChunks(ReleaseChunksRequest(releases=[release], claim=claim)) for _ in range(2)]
    assert [tokens(list(answer.claimed)) for answer in answers] == [tokens(list(answers[0].claimed))] * 2
    assert [one.chunk.index for one in answers[0].claimed] == [1]


async def test_a_release_of_a_cancelled_chunk_leases_that_of_another_job(api: Api, kind: str):
    cancelled, waiting = await api.create(kind), await api.create(kind)
    [held] = await api.claim(kind)
    await api.cancel(cancelled.job_id)
    claim = ClaimChunksRequest(kinds=[kind], worker="w")
    release = ChunkRelease(lease_token=held.lease.token)
    response = await api.work.ReleaseChunks(ReleaseChunksRequest(releases=[release], claim=claim))
    assert [result.chunk_state for result in response.results] == [CHUNK_CANCELLED]
    assert [one.job_id for one in response.claimed] == [waiting.job_id]
    assert (await api.get(cancelled.job_id)).state == CANCELLED


async def test_without_a_claim_nothing_is_leased(api: Api, kind: str):
    await api.create(kind, item_count=3, chunk_size=1)
    first, second = await api.claim(kind, 2)
    request = CompleteChunksRequest(completions=[ChunkCompletion(lease_token=first.lease.token)])
    assert not (await api.work.CompleteChunks(request)).claimed
    releases = ReleaseChunksRequest(releases=[ChunkRelease(lease_token=second.lease.token)])
    assert not (await api.work.ReleaseChunks(releases)).claimed


async def test_what_the_answer_has_no_room_for_is_claimable_again(api: Api, kind: str):
    big = {"text": "x" * 65_000}
    job = await api.create(fresh_kind())
    [held] = await api.claim(job.kind)
    for _ in range(60):
        await api.create(kind, input=big)
    response = await complete(api, held.lease.token, kinds=[kind], max_chunks=60)
    assert 0 < len(response.claimed) < 60
    rest: list[ClaimedChunk] = []
    while len(response.claimed) + len(rest) < 60:
        rest += await api.claim(kind, 60, wait=timedelta(minutes=1))
    assert {one.chunk.attempt for one in rest} == {1}


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("claim.kinds", {"kinds": []}),
        ("claim.kinds[0]", {"kinds": ["Not A Kind"]}),
        ("claim.job_ids", {"job_ids": ["with-kinds"]}),
        ("claim.max_chunks", {"max_chunks": 1_001}),
        ("claim.worker", {"worker": ""}),
        ("claim.lease_duration", {"lease_duration": timedelta(hours=25)}),
        ("claim.wait", {"wait": timedelta(milliseconds=1)}),
    ],
)
async def test_a_claim_that_breaks_a_rule_refuses_the_reports(
    api: Api, kind: str, field: str, broken: dict[str, object]
):
    job = await api.create(kind)
    [held] = await api.claim(kind)
    before = await api.get(job.job_id)
    claim = ClaimChunksRequest(**({"kinds": [kind], "worker": "w"} | broken))
    with invalid(field):
        await api.work.CompleteChunks(
            CompleteChunksRequest(completions=[ChunkCompletion(lease_token=held.lease.token)], claim=claim)
        )
    failure = ChunkFailure(lease_token=held.lease.token, error={"code": "BOOM"})
    with invalid(field):
        await api.work.FailChunks(FailChunksRequest(failures=[failure], claim=claim))
    release = ChunkRelease(lease_token=held.lease.token)
    with invalid(field):
        await api.work.ReleaseChunks(ReleaseChunksRequest(releases=[release], claim=claim))
    assert await api.get(job.job_id) == before
