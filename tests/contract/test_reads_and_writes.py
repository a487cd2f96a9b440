"""Reads beside writes: GetJob, BatchGetJobs and ListJobs show jobs as they are after every acknowledged write."""

import asyncio

import pytest
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import (
    BatchGetJobsRequest,
    GetJobRequest,
    ListJobsRequest,
    ListJobsResponse,
    UpdateJobRequest,
    WatchMode,
)

from tests.support.api import Api

STATUS, BASIC, FULL = (JobView.Value(f"JOB_VIEW_{name}") for name in ("STATUS", "BASIC", "FULL"))


async def shown(api: Api, job_id: str, kind: str, view: int) -> list[Job]:
    """Return a job as each of the three reads shows it."""
    one = GetJobRequest(job_id=job_id, view=view)
    some = BatchGetJobsRequest(job_ids=[job_id], view=view)
    listed = ListJobsRequest(filter={"kinds": [kind]}, view=view)
    reads = api.jobs.GetJob(one), api.jobs.BatchGetJobs(some), api.jobs.ListJobs(listed)
    got, batch, page = await asyncio.gather(*reads)
    return [got.job, *batch.jobs, *page.jobs]


@pytest.mark.parametrize("view", [STATUS, BASIC, FULL])
async def test_all_reads_see_each_acknowledged_write_while_others_read(api: Api, kind: str, view: int):
    job = await api.create(kind, item_count=1_000)
    beside = [(await api.create(f"{kind}.beside")).job_id for _ in range(3)]
    is_over = asyncio.Event()

    async def read_on() -> None:
        while not is_over.is_set():
            await shown(api, job.job_id, kind, view)
            await api.batch_get(job_ids=[job.job_id, *beside], view=view)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(read_on())
        claimed = await api.claim(kind)
        for percent in range(1, 30):
            await api.report(claimed[0], percent=percent)
            assert {one.revision for one in await shown(api, job.job_id, kind, view)} == {percent + 2}
        update = UpdateJobRequest(job_id=job.job_id, display_name="another", update_mask={"paths": ["display_name"]})
        renamed = await api.jobs.UpdateJob(update)
        for one in await shown(api, job.job_id, kind, view):
            assert (one.revision, one.display_name) == (renamed.job.revision, "another")
        is_over.set()


async def test_a_lease_that_is_only_extended_is_shown_by_the_next_read(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    ends: list[int] = []
    for _ in range(3):
        together = {one.chunks[0].lease_expire_time.ToNanoseconds() for one in await shown(api, job.job_id, kind, FULL)}
        assert len(together) == 1
        ends += together
        await api.report(claimed)
    assert ends == sorted({*ends})


async def test_a_job_that_was_deleted_and_made_anew_is_not_taken_for_the_first(api: Api, kind: str):
    job_id = f"{kind}.again"
    for name in ("first", "second"):
        await api.create(kind, job_id=job_id, display_name=name)
        assert [one.display_name for one in await shown(api, job_id, kind, BASIC)] == [name] * 3
        await api.cancel(job_id)
        assert len(await shown(api, job_id, kind, BASIC)) == 3
        await api.delete(job_id)
        assert not (await api.list_jobs(filter={"kinds": [kind]})).jobs
        batch = await api.batch_get(job_ids=[job_id])
        assert list(batch.missing_job_ids) == [job_id]


async def test_a_list_beside_writes_is_as_of_its_cursor(api: Api, kind: str):
    ids = [(await api.create(kind, item_count=1_000)).job_id for _ in range(5)]
    claimed = await api.claim(kind, 5)
    pages: list[ListJobsResponse] = []

    async def list_on() -> None:
        while len(pages) < 100:
            pages.append(await api.list_jobs(filter={"kinds": [kind]}, page_size=100))

    async def write_on() -> None:
        percent = 0
        while len(pages) < 100:
            percent = percent % 90 + 1
            await asyncio.gather(*(api.report(one, percent=percent, message=str(percent)) for one in claimed))

    start = await api.list_jobs(filter={"kinds": [kind]})
    await asyncio.gather(list_on(), write_on())
    wanted = {page.cursor: {one.job_id: one.revision for one in page.jobs} for page in pages}
    last = {job_id: max(page[job_id] for page in wanted.values()) for job_id in ids}
    now = {one.job_id: one.revision for one in start.jobs}
    async with api.watch_jobs(kind, cursor=start.cursor, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        cursors = {start.cursor: dict(now)}
        while any(now[job_id] < last[job_id] for job_id in ids):
            change = await watch.change()
            now[change.job.job_id] = change.job.revision
            cursors[change.cursor] = dict(now)
    compared = [cursor for cursor in wanted if cursor in cursors]
    assert compared
    for cursor in compared:
        assert wanted[cursor] == cursors[cursor]
