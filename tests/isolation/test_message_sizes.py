"""A client with gRPC's own limit, 4 MiB a message, can watch anything: what would be larger says what it leaves out."""

import pytest
from jobledger.v1.job_service_pb2 import ListChunksRequest, WatchJobResponse, WatchMode

from tests.support.api import Api
from tests.support.states import CHUNK_COMPLETED, COMPLETED
from tests.support.watching import SNAPSHOT

CHUNKS = 30
LARGE = {f"{n}": {"uri": "s3://bucket/".ljust(2_048, "x"), "metadata": {"text": "m" * 2_000}} for n in range(50)}
"""Artifacts of one chunk, of 200 KB: those of all chunks are more than a message may have."""
MAX_MESSAGE_BYTES = 3 * 1024 * 1024
EVERY, LATEST = WatchMode.WATCH_MODE_EVERY, WatchMode.WATCH_MODE_LATEST


async def completed_with_large_chunks(api: Api, kind: str) -> tuple[str, bytes]:
    """Complete a job whose chunks are large; return its id and a cursor from before they were."""
    job = await api.create(kind, item_count=CHUNKS, chunk_size=1)
    async with api.watch_job(job.job_id) as watch:
        cursor = (await watch.message()).cursor
    for chunk in await api.claim(kind, CHUNKS):
        await api.complete(chunk, progress={"artifacts": LARGE})
    return job.job_id, cursor


async def test_a_snapshot_that_would_be_too_large_leaves_chunks_out_and_reports_it(api: Api, kind: str):
    job_id, _ = await completed_with_large_chunks(api, kind)
    async with api.watch_job(job_id) as watch:
        snapshot = await watch.message()
    assert snapshot.type == SNAPSHOT
    assert snapshot.chunks_omitted
    assert snapshot.ByteSize() <= MAX_MESSAGE_BYTES + 8
    shown = list(snapshot.job.chunks)
    assert [chunk.index for chunk in shown] == list(range(len(shown)))
    assert 0 < len(shown) < CHUNKS
    request = ListChunksRequest(job_id=job_id, page_size=len(shown))
    assert list((await api.jobs.ListChunks(request)).chunks) == shown


@pytest.mark.parametrize("mode", [LATEST, EVERY])
async def test_what_is_merged_for_one_who_comes_late_is_never_too_large(api: Api, kind: str, mode: int):
    job_id, cursor = await completed_with_large_chunks(api, kind)
    async with api.watch_job(job_id, cursor=cursor, mode=mode) as watch:
        messages = await watch.rest()
    assert max(message.ByteSize() for message in messages) <= MAX_MESSAGE_BYTES
    assert messages[-1].job.state == COMPLETED
    assert sum(1 + message.merged_revision_count for message in messages) == messages[-1].job.revision - 1
    if not any(message.chunks_omitted for message in messages):
        assert told(messages) == dict.fromkeys(range(CHUNKS), CHUNK_COMPLETED)


def told(messages: list[WatchJobResponse]) -> dict[int, int]:
    """Return the last state of each chunk that messages tell of."""
    return {chunk.index: chunk.state for message in messages for chunk in message.chunks}
