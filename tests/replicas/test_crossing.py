"""A caller may go from replica to replica at any moment: what it wrote is there, and what it watches goes on."""

import asyncio
import random

import grpc
import pytest
from jobledger.v1.job_service_pb2 import ListJobsRequest, UpdateJobRequest, WatchMode

from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND
from tests.support.lives import assert_gapless, ended, live
from tests.support.watching import DELETED

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
OBSERVERS = 9
KEPT = 50  # of each writer, so that all that are kept have room in one page


async def test_a_read_after_an_acknowledged_write_sees_it_at_every_replica(apis: list[Api], kind: str):
    async def one(n: int) -> None:
        job = await apis[n % 3].create(kind)
        for round_ in range(15):
            writer, reader = random.sample(apis, 2)
            request = UpdateJobRequest(
                job_id=job.job_id, update_mask={"paths": ["display_name"]}, display_name=f"{round_}"
            )
            written = (await writer.jobs.UpdateJob(request)).job
            read = await reader.get(job.job_id)
            assert (read.revision, read.display_name) == (written.revision, f"{round_}")
        await apis[n % 3].delete(job.job_id, force=True)
        try:
            await apis[(n + 1) % 3].get(job.job_id)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND  # noqa: PT017 - the else says that there is one
        else:
            raise AssertionError("a deleted job is read")

    await asyncio.gather(*(one(n) for n in range(20)))


async def test_a_list_after_an_acknowledged_write_sees_it_and_its_cursor_is_past_it(apis: list[Api], kind: str):
    for n in range(30):
        job = await apis[n % 3].create(kind)
        listed = await apis[(n + 1) % 3].list_jobs(filter={"kinds": [kind]}, page_size=1)
        assert [one.job_id for one in listed.jobs] == [job.job_id]
        async with apis[(n + 2) % 3].watch_jobs(kind, cursor=listed.cursor, mode=EVERY) as watch:
            await apis[n % 3].cancel(job.job_id)
            assert (await watch.change()).event.revision == 2


async def test_a_watch_continues_at_any_replica_from_each_cursor_of_any_other(apis: list[Api], kind: str):
    job = await apis[0].create(kind, item_count=4, chunk_size=1)
    async with apis[1].watch_job(job.job_id, mode=EVERY) as watch:
        first = await watch.change()
        await live(apis[2], job, reports=4)
        before = [first, *await watch.through(ended)]
    for n, message in enumerate(before[:-1]):
        for api in apis:
            async with api.watch_jobs(kind, cursor=message.cursor, mode=EVERY) as resumed:
                after = await resumed.through(ended)
            assert [one.event for one in after] == [one.event for one in before[n + 1 :]]


async def test_lists_and_watches_at_different_replicas_fit_together_while_all_write(apis: list[Api], kind: str):
    labels = {"run": kind}
    listing = ListJobsRequest(filter={"labels": labels}, page_size=500)

    async def churn(n: int) -> None:
        """Write while observers begin, so that the next of them always has changes to begin after."""
        round_ = n
        while len(observers) < OBSERVERS:
            round_ += 1
            api = apis[round_ % 3]
            lived = await api.create(fresh_kind(), labels=labels, item_count=2, chunk_size=1)
            await live(api, lived, reports=2)
            job = await api.create(fresh_kind(), labels=labels)
            await apis[n % 3].cancel(job.job_id)
            for gone in (job, lived) if round_ > n + KEPT else (job,):
                await apis[(n + 1) % 3].delete(gone.job_id)

    async def observe(n: int) -> dict[str, int]:
        listed = await apis[n % 3].jobs.ListJobs(listing)
        lists[n].set()
        known = {job.job_id: job.revision for job in listed.jobs}
        async with apis[(n + 1) % 3].watch_jobs(filter=listing.filter, cursor=listed.cursor, mode=EVERY) as watch:
            messages = await watch.through(lambda message: message.job.display_name == "the last")
        assert_gapless(messages, known)
        gone = {message.job.job_id for message in messages if message.type == DELETED}
        return {job_id: revision for job_id, revision in known.items() if job_id not in gone}

    observers: list[asyncio.Task[dict[str, int]]] = []
    lists = [asyncio.Event() for _ in range(OBSERVERS)]
    writing = asyncio.gather(*(churn(n) for n in range(6)))
    while len(observers) < OBSERVERS:
        async with apis[0].watch_jobs(filter=listing.filter) as watch:  # each begins a few changes after the one before
            await watch.bookmark()
            await watch.changes(10)
        observers.append(asyncio.create_task(observe(len(observers))))
    await writing
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(has_list.wait() for has_list in lists))  # the last is in no list
    await apis[0].create(kind, labels=labels, display_name="the last")
    stored = {job.job_id: job.revision for job in (await apis[1].jobs.ListJobs(listing)).jobs}
    for seen in await asyncio.gather(*observers):
        assert seen == stored
