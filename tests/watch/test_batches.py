"""Batches: the same messages of a watch of many jobs, in fewer."""

from collections.abc import Iterator

import pytest
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest, WatchJobsResponse, WatchMode
from jobledger_service.core.api.codec import MAX_BATCH_BYTES, ProtoCodec

from tests.support.api import Api
from tests.support.watching import BOOKMARK

JOBS = 60
EVERY, LATEST = WatchMode.WATCH_MODE_EVERY, WatchMode.WATCH_MODE_LATEST


def each(messages: list[WatchJobsResponse]) -> Iterator[WatchJobsResponse]:
    """Yield the messages one by one, as they are without batches."""
    for message in messages:
        following = list(message.following)
        message.ClearField("following")
        yield message
        for one in following:
            assert not one.following
            yield one


async def all_of(api: Api, kind: str, **fields: object) -> list[WatchJobsResponse]:
    messages: list[WatchJobsResponse] = []
    async with api.watch_jobs(kind, **fields) as watch:
        while not messages or messages[-1].type != BOOKMARK:
            messages.append(await watch.message())
    return messages


@pytest.mark.guarantee("3e.4")
@pytest.mark.parametrize("mode", [EVERY, LATEST], ids=["EVERY", "LATEST"])
async def test_they_hold_the_same_messages(api: Api, kind: str, mode: int):
    begin = (await api.list_jobs(page_size=1)).cursor
    new = [CreateJobRequest(kind=kind) for _ in range(JOBS)]
    await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=new))
    for claimed in await api.claim(kind, JOBS):
        await api.report(claimed, percent=50.0)
    alone = await all_of(api, kind, mode=mode, cursor=begin)
    batches = await all_of(api, kind, mode=mode, cursor=begin, batches=True)
    assert len(batches) < JOBS < len(alone)
    together = list(each(batches))
    assert [one.event for one in together if one.type != BOOKMARK] == [
        one.event for one in alone if one.type != BOOKMARK
    ]
    assert [one for one in together if one.type != BOOKMARK] == [one for one in alone if one.type != BOOKMARK]
    assert all(one.cursor for one in together)


async def test_snapshots_come_in_batches_too(api: Api, kind: str):
    new = [CreateJobRequest(kind=kind) for _ in range(JOBS)]
    await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=new))
    alone, batches = await all_of(api, kind), await all_of(api, kind, batches=True)
    assert len(batches) < JOBS < len(alone)
    assert [one.job for one in each(batches)] == [one.job for one in alone]


@pytest.mark.guarantee("3e.4")
async def test_a_watch_goes_on_after_any_message_of_a_batch(api: Api, kind: str):
    begin = (await api.list_jobs(page_size=1)).cursor
    for _ in range(5):
        await api.create(kind)
    whole = list(each(await all_of(api, kind, mode=EVERY, cursor=begin, batches=True)))[:-1]
    for place, message in enumerate(whole):
        rest = list(each(await all_of(api, kind, mode=EVERY, cursor=message.cursor, batches=True)))[:-1]
        assert [one.event.position for one in rest] == [one.event.position for one in whole[place + 1 :]]


@pytest.mark.guarantee("3e.4")
def test_they_are_bounded_in_bytes():
    sizes = [MAX_BATCH_BYTES + 1, 10, 20, MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 2, 30]
    messages = [WatchJobsResponse(cursor=bytes([number]) * size) for number, size in enumerate(sizes)]
    batches = list(ProtoCodec().batch([message.SerializeToString() for message in messages]))
    assert [len(WatchJobsResponse.FromString(raw).following) for raw in batches] == [0, 2, 1]
    assert list(each([WatchJobsResponse.FromString(raw) for raw in batches])) == messages
