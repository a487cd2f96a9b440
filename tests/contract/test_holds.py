"""Holds: why a chunk that waits may not be claimed yet, in GetJob, lists, events and statistics, on every replica."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from jobledger.v1.chunk_pb2 import HOLD_REASON_BACKOFF, HOLD_REASON_LIMIT
from jobledger.v1.job_pb2 import Hold
from jobledger.v1.stats_pb2 import HeldChunks

from tests.support.api import Api
from tests.support.limits import kind_scope, set_limit
from tests.support.server import Server

LATER = {"initial_backoff": timedelta(hours=1)}


async def held_chunks(api: Api, kind: str) -> list[HeldChunks]:
    """Return the chunks of a kind that may not be claimed, by reason."""
    stats = await api.stats(kinds=[kind])
    return list(stats.total.now.chunks_held)


async def test_a_chunk_after_a_failed_attempt_is_held_alone(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]
):
    job_id = (await api.create(kind, item_count=3, chunk_size=1, retry_policy=LATER)).job_id
    first, second = await api.claim(kind, 2)
    await api.fail(first)
    await api.release(second)
    other = connect(replicas[-1])
    job = await other.get(job_id)
    assert [list(chunk.holds) for chunk in job.chunks] == [[HOLD_REASON_BACKOFF], [], []]
    assert not job.holds
    assert [chunk.chunk.index for chunk in await other.claim(kind, 9)] == [1, 2]
    assert await held_chunks(api, kind) == [HeldChunks(reason=HOLD_REASON_BACKOFF, chunk_count=1)]
    await api.cancel(job_id, force=True)
    assert await held_chunks(api, kind) == []
    retried = await api.retry(job_id)
    assert not retried.holds
    assert not any(chunk.holds for chunk in (await api.get(job_id)).chunks)
    assert len(await api.claim(kind, 9)) == 3


async def test_a_chunk_whose_backoff_is_over_is_no_longer_counted_as_held(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy={"initial_backoff": timedelta(milliseconds=1)})).job_id
    await api.fail(*await api.claim(kind))
    [again] = await api.claim(kind, wait=timedelta(seconds=30))
    assert (again.chunk.attempt, list(again.chunk.holds)) == (2, [])
    assert await held_chunks(api, kind) == []
    assert (await api.get(job_id)).chunks_summary.processing == 1


@pytest.mark.guarantee("3c.11")
async def test_a_job_without_a_slot_shows_what_holds_it_wherever_it_is_shown(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    running = await api.create(kind)
    async with api.watch_jobs(kind) as watch:
        await watch.through(lambda message: message.job.job_id == running.job_id)
        parked = await api.create(kind, item_count=2, chunk_size=1)
        [*_, created] = await watch.through(lambda message: message.job.job_id == parked.job_id)
    hold = Hold(reason=HOLD_REASON_LIMIT, scope=kind_scope(kind))
    assert (list(parked.holds), list(created.job.holds)) == ([hold], [hold])
    assert [list(chunk.holds) for chunk in created.chunks] == [[HOLD_REASON_LIMIT]] * 2
    listed = (await api.list_jobs(filter={"kinds": [kind]})).jobs
    assert [list(job.holds) for job in listed] == [[hold], []]
    chunks = (await api.list_chunks(parked.job_id)).chunks
    assert [list(chunk.holds) for chunk in chunks] == [[HOLD_REASON_LIMIT]] * 2
    assert await held_chunks(api, kind) == [HeldChunks(reason=HOLD_REASON_LIMIT, chunk_count=2)]
    await api.cancel(running.job_id)
    claimed = await api.claim(kind, 2, wait=timedelta(seconds=30))
    assert {one.job_id for one in claimed} == {parked.job_id}
    assert not any(chunk.holds for chunk in (await api.get(parked.job_id)).chunks)
    assert await held_chunks(api, kind) == []


async def test_chunks_that_a_pause_holds_are_counted_when_a_claim_comes_past_them(api: Api, kind: str):
    await api.create(kind, item_count=2, chunk_size=1)
    await set_limit(api, kind_scope(kind), 0)
    assert await held_chunks(api, kind) == [], "no worker has asked for them"
    assert await api.claim(kind, 2) == []
    assert await held_chunks(api, kind) == [HeldChunks(reason=HOLD_REASON_LIMIT, chunk_count=2)]
    await set_limit(api, kind_scope(kind), 1)
    claimed = await api.claim(kind, 2, wait=timedelta(seconds=30))
    assert len(claimed) == 2
    assert await held_chunks(api, kind) == []
