"""A watch with a uid shows one job, whichever jobs had its job_id before it, or have it after it."""

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import WatchMode

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import CANCELLED, COMPLETED, QUEUED
from tests.support.watching import DELETED, SNAPSHOT

CREATED = ChangeType.CHANGE_TYPE_CREATED
MODES = [WatchMode.WATCH_MODE_LATEST, WatchMode.WATCH_MODE_EVERY]
VIEWS = [JobView.JOB_VIEW_UNSPECIFIED, JobView.JOB_VIEW_STATUS]


async def in_turn(api: Api, kind: str) -> tuple[bytes, list[Job]]:
    """Return three jobs that had one job_id, the last of which has it, and a cursor from before them."""
    cursor = (await api.list_jobs(page_size=1)).cursor
    jobs = []
    for number in range(3):
        if jobs:
            await api.delete(kind, force=True)
        jobs.append(await api.create(kind, job_id=kind, priority=number))
        await api.update(kind, display_name=f"job {number}", update_mask={"paths": ["display_name"]})
    return cursor, jobs


@pytest.mark.guarantee("3d.8")
@pytest.mark.parametrize("mode", MODES, ids=["LATEST", "EVERY"])
@pytest.mark.parametrize("view", VIEWS, ids=["whole", "STATUS"])
async def test_each_job_of_an_id_is_watched_by_itself_from_its_beginning_to_its_end(
    api: Api, kind: str, mode: WatchMode, view: JobView
):
    cursor, jobs = await in_turn(api, kind)
    await api.cancel(kind)
    for job in jobs:
        async with api.watch_job(kind, uid=job.uid, cursor=cursor, mode=mode, view=view) as watch:
            messages = await watch.rest()
        assert {message.job.uid for message in messages} == {job.uid}
        assert messages[-1].job.state == CANCELLED if job is jobs[-1] else messages[-1].type == DELETED
        if mode == WatchMode.WATCH_MODE_EVERY:
            assert [message.job.revision for message in messages] == [1, 2, 3]
            assert messages[0].event.changes[0].type == CREATED


@pytest.mark.guarantee("3d.8")
async def test_a_watch_of_a_job_that_is_gone_is_refused_while_another_has_its_id(api: Api, kind: str):
    _, (first, _, last) = await in_turn(api, kind)
    cursor = (await api.list_jobs(page_size=1)).cursor
    for fields in {}, {"cursor": cursor}:
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND") as refusal:
            async with api.watch_job(kind, uid=first.uid, **fields) as watch:
                await watch.message()
        assert refusal.metadata == {"job_id": kind}
    async with api.watch_job(kind, uid=last.uid) as watch:
        snapshot = await watch.message()
    assert (snapshot.type, snapshot.job.uid) == (SNAPSHOT, last.uid)


@pytest.mark.guarantee("3d.8")
async def test_an_open_watch_ends_with_its_job_and_shows_nothing_of_the_next_one(api: Api, kind: str):
    first = await api.create(kind, job_id=kind)
    async with api.watch_job(kind, uid=first.uid) as watch, api.watch_jobs(kind) as bystander:
        await watch.message()
        await bystander.message()
        await api.delete(kind, force=True)
        second = await api.create(kind, job_id=kind)
        assert [message.type for message in await watch.rest()] == [DELETED]
        deleted, created = await bystander.changes(2)
    assert (deleted.type, created.job.uid, created.job.state) == (DELETED, second.uid, QUEUED)


async def test_a_watch_that_passes_over_changes_begins_with_the_first_of_its_job(api: Api, kind: str):
    cursor, (*_, last) = await in_turn(api, kind)
    [claimed] = await api.claim(kind)
    await api.complete(claimed)
    fields = {"cursor": cursor, "state_changes_only": True, "mode": WatchMode.WATCH_MODE_EVERY}
    async with api.watch_job(kind, uid=last.uid, **fields) as watch:
        messages = await watch.rest()
    assert [message.job.revision for message in messages] == [1, 3, 4]
    assert messages[-1].job.state == COMPLETED


async def test_a_uid_in_another_form_is_refused(api: Api, kind: str):
    await api.create(kind, job_id=kind)
    with invalid("uid"):
        async with api.watch_job(kind, uid="1") as watch:
            await watch.message()
