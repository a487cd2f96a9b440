"""What a filtered watch tells: jobs that come to match, change while they match, and leave - and nothing of others."""

import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.support.api import Api
from tests.support.states import CANCELLED, QUEUED, RUNNING
from tests.support.watching import CHANGED, DELETED, LEFT, SNAPSHOT

LATEST, EVERY = WatchMode.WATCH_MODE_LATEST, WatchMode.WATCH_MODE_EVERY
modes = pytest.mark.parametrize("mode", [LATEST, EVERY], ids=["LATEST", "EVERY"])


async def update(api: Api, job_id: str, **fields: object) -> None:
    """Change fields of a job."""
    await api.update(job_id, update_mask={"paths": list(fields)}, **fields)


@modes
async def test_a_job_comes_leaves_and_comes_again(api: Api, kind: str, mode: int):
    async with api.watch_jobs(filter={"kinds": [kind], "states": [QUEUED]}, mode=mode) as watch:
        await watch.bookmark()
        job = await api.create(kind)
        assert (await watch.change()).type == CHANGED
        [claimed] = await api.claim(kind)
        left = await watch.change()
        assert (left.type, left.job.state, left.job.revision) == (LEFT, RUNNING, 2)
        await api.fail(claimed, not_retryable=True)
        await api.retry(job.job_id)
        back = await watch.change()
        assert (back.type, back.job.state, back.job.revision) == (CHANGED, QUEUED, 4)


@pytest.mark.parametrize(
    ("matching", "out", "back"),
    [
        ({"labels": {"env": "prod"}}, {"labels": {"env": "dev"}}, {"labels": {"env": "prod"}}),
        ({"min_priority": 5}, {"priority": 4}, {"priority": 5}),
        ({"max_priority": 6}, {"priority": 10}, {"priority": 0}),
        ({"search": "REPORT"}, {"display_name": "x"}, {"display_name": "a report"}),
    ],
    ids=["labels", "min_priority", "max_priority", "search"],
)
async def test_every_field_that_can_change_announces_the_leaving(
    api: Api, kind: str, matching: dict[str, object], out: dict[str, object], back: dict[str, object]
):
    job = await api.create(kind, labels={"env": "prod"}, display_name="Report")
    async with api.watch_jobs(filter={"kinds": [kind]} | matching) as watch:
        assert (await watch.message()).type == SNAPSHOT
        await update(api, job.job_id, **out)
        assert (await watch.change()).type == LEFT
        await update(api, job.job_id, **back)
        returned = await watch.change()
    assert (returned.type, returned.job.revision) == (CHANGED, 3)


async def test_by_end_time_a_job_comes_as_it_ends(api: Api, kind: str):
    job = await api.create(kind)
    async with api.watch_jobs(filter={"kinds": [kind], "end_time": {"start_time": job.create_time}}) as watch:
        await watch.bookmark()
        await update(api, job.job_id, priority=1)
        await api.cancel(job.job_id)
        came = await watch.change()
        await api.retry(job.job_id)
        left = await watch.change()
    assert (came.type, came.job.state) == (CHANGED, CANCELLED)
    assert (left.type, left.job.state) == (LEFT, QUEUED)


async def test_by_update_time_a_job_leaves_with_its_next_change(api: Api, kind: str):
    await api.create(kind)
    job = await api.create(kind)
    until_then = {"end_time": job.update_time}
    first = (await api.list_jobs(filter={"kinds": [kind], "update_time": until_then})).jobs
    async with api.watch_jobs(filter={"kinds": [kind], "update_time": until_then}) as watch:
        assert [message.job.job_id for message in await watch.changes(1)] == [one.job_id for one in first]
        await api.cancel(first[0].job_id)
        assert (await watch.change()).type == LEFT


async def test_a_resume_before_the_leaving_learns_of_it_and_one_after_does_not(api: Api, kind: str):
    wanted = {"kinds": [kind], "states": [QUEUED]}
    job = await api.create(kind)
    async with api.watch_jobs(filter=wanted, mode=EVERY) as watch:
        before = (await watch.bookmark()).cursor
        [claimed] = await api.claim(kind)
        after = (await watch.change()).cursor
    await api.fail(claimed, not_retryable=True)
    await api.retry(job.job_id)
    async with api.watch_jobs(filter=wanted, mode=EVERY, cursor=before) as watch:
        assert [(one.type, one.job.revision) for one in await watch.changes(2)] == [(LEFT, 2), (CHANGED, 4)]
    async with api.watch_jobs(filter=wanted, mode=EVERY, cursor=after) as watch:
        assert [(one.type, one.job.revision) for one in await watch.changes(1)] == [(CHANGED, 4)]


async def test_the_deletion_of_a_job_that_matches_is_reported_and_of_one_that_left_is_not(api: Api, kind: str):
    gone, matching, last = [await api.create(kind) for _ in range(3)]
    async with api.watch_jobs(filter={"kinds": [kind], "states": [QUEUED]}) as watch:
        await watch.bookmark()
        await api.cancel(gone.job_id)
        assert (await watch.change()).type == LEFT
        for job in (gone, matching):
            await api.delete(job.job_id, force=True)
        deleted = await watch.change()
        await update(api, last.job_id, priority=9)
        changed = await watch.change()
    assert (deleted.type, deleted.job.job_id) == (DELETED, matching.job_id)
    assert (changed.type, changed.job.job_id) == (CHANGED, last.job_id)


async def test_nothing_is_sent_for_jobs_that_never_match(api: Api, kind: str):
    async with api.watch_jobs(filter={"kinds": [kind], "min_priority": 8}, mode=EVERY) as watch:
        await watch.bookmark()
        low = await api.create(kind, priority=7)
        await api.cancel(low.job_id)
        high = await api.create(kind, priority=8)
        first = await watch.change()
    assert first.job.job_id == high.job_id
