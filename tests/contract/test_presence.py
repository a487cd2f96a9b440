"""JSON shows a number whose zero means something: the first chunk, the lowest priority, no percent yet, a pause."""

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from jobledger.v1.job_pb2 import JobView
from jobledger.v1.job_service_pb2 import EventOrder, ListAttemptsRequest
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest

from tests.support.api import Api
from tests.support.limits import kind_scope, limit, set_limit

FULL = JobView.JOB_VIEW_FULL
WAITING = {"index": 0, "progress": {"percent": 0}}


def zeros(message: Message, *names: str) -> dict[str, Any]:
    """Return fields of a message as JSON has them without its defaults."""
    shown = MessageToDict(message)
    return {name: shown[name] for name in names}


async def test_a_job_shows_its_lowest_priority_and_that_nothing_is_done(api: Api, kind: str):
    created = await api.create(kind, priority=0)
    read = await api.get(created.job_id, view=FULL)
    status = await api.get(created.job_id, view=JobView.JOB_VIEW_STATUS)
    [listed] = (await api.list_jobs(filter={"kinds": [kind]})).jobs
    for job in created, read, listed:
        assert zeros(job, "priority", "progress") == {"priority": 0, "progress": {"percent": 0}}
    assert zeros(status, "progress") == {"progress": {"percent": 0}}


async def test_the_first_chunk_shows_its_index_wherever_it_is_shown(api: Api, kind: str):
    job = await api.create(kind, chunks=[{}, {}])
    async with api.watch_job(job.job_id) as watch:
        snapshot = await watch.message()
        [claimed] = await api.claim(kind)
        change = await watch.change()
    assert zeros(snapshot.job.chunks[0], *WAITING) == WAITING
    assert zeros(change.chunks[0], *WAITING) == zeros(claimed.chunk, *WAITING) == WAITING
    read, page = await api.get(job.job_id, view=FULL), await api.list_chunks(job.job_id)
    assert zeros(read.chunks[0], *WAITING) == zeros(page.chunks[0], *WAITING) == WAITING
    listed = await api.jobs.ListAttempts(ListAttemptsRequest(job_id=job.job_id))
    attempts = [*read.attempts, *listed.attempts]
    assert [zeros(attempt, "chunkIndex") for attempt in attempts] == [{"chunkIndex": 0}] * 2
    [event] = (await api.list_events(job.job_id, order=EventOrder.EVENT_ORDER_POSITION_DESC, page_size=1)).events
    assert zeros(event.changes[0], "chunkIndex") == {"chunkIndex": 0}


async def test_a_chunk_claimed_by_name_shows_its_index(api: Api, kind: str):
    job = await api.create(kind)
    request = ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker="w")
    assert zeros((await api.work.ClaimChunk(request)).chunk.chunk, "index") == {"index": 0}


async def test_a_run_of_chunks_shows_that_it_begins_with_the_first(api: Api, kind: str):
    job = await api.create(kind, item_count=100, chunk_size=1)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        await api.cancel(job.job_id)
        change = await watch.change()
    [run] = change.chunk_ranges
    assert zeros(run, "firstIndex", "lastIndex") == {"firstIndex": 0, "lastIndex": 99}


async def test_a_limit_that_pauses_shows_it(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 0)
    paused = await limit(api, kind_scope(kind))
    assert paused is not None
    assert zeros(paused, "maxRunning") == {"maxRunning": 0}
