"""A job's uid: its own identity, which no other job ever has, also none with the same job_id."""

from uuid import UUID

import grpc
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import EventOrder, ListAttemptsRequest, ListEventsRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.pages import pages_of
from tests.support.states import LEASE_LOST
from tests.support.watching import CHANGED, DELETED, SNAPSHOT


async def delete(api: Api, job_id: str, **fields: object) -> None:
    await api.delete(job_id, force=True, **fields)


async def types(api: Api, job_id: str, uid: str = "", page_size: int = 2) -> list[tuple[str, int]]:
    """Return whose each event of a trail is, with its revision, read in small pages."""
    pages = pages_of(
        api.jobs.ListEvents,
        ListEventsRequest(job_id=job_id, uid=uid, page_size=page_size, order=EventOrder.EVENT_ORDER_POSITION_ASC),
    )
    return [(event.uid, event.revision) async for page in pages for event in page.events]


async def lived(api: Api, kind: str) -> list[Job]:
    """Return three jobs of one id, the first two of which were deleted."""
    jobs = []
    for number in range(3):
        job = await api.create(kind, job_id=kind)
        for priority in range(number + 1):
            mask = {"paths": ["priority"]}
            await api.update(kind, update_mask=mask, priority=priority)
        if number < 2:
            await delete(api, kind)
        jobs.append(job)
    return jobs


async def test_each_job_has_a_uid_of_its_own_everywhere(api: Api, kind: str):
    job = await api.create(kind)
    uid = UUID(job.uid)
    assert (uid.version, str(uid)) == (7, job.uid)
    assert (await api.get(job.job_id)).uid == job.uid
    [listed] = (await api.list_jobs(filter={"kinds": [kind]})).jobs
    assert listed.uid == job.uid
    async with api.watch_job(job.job_id) as watch:
        snapshot = await watch.message()
        await api.cancel(job.job_id)
        changed = await watch.message()
    assert (snapshot.type, snapshot.job.uid) == (SNAPSHOT, job.uid)
    assert (changed.type, changed.job.uid, changed.event.uid) == (CHANGED, job.uid, job.uid)


@pytest.mark.guarantee("3d.8")
async def test_trails_of_jobs_of_one_id_are_not_mixed(api: Api, kind: str):
    first, second, present = await lived(api, kind)
    assert len({first.uid, second.uid, present.uid}) == 3
    assert await types(api, kind) == [(present.uid, revision) for revision in (1, 2, 3, 4)]
    assert await types(api, kind, present.uid) == await types(api, kind)
    assert await types(api, kind, first.uid) == [(first.uid, revision) for revision in (1, 2, 3)]
    assert await types(api, kind, second.uid, 1) == [(second.uid, revision) for revision in (1, 2, 3, 4)]
    await delete(api, kind)
    assert await types(api, kind) == [(present.uid, revision) for revision in (1, 2, 3, 4, 5)]


@pytest.mark.guarantee("3d.8")
async def test_all_pages_are_of_one_job_also_when_its_id_is_used_again_meanwhile(api: Api, kind: str):
    *_, present = await lived(api, kind)
    first = await api.list_events(kind, page_size=2)
    await delete(api, kind)
    await api.create(kind, job_id=kind)
    rest = await api.list_events(kind, page_token=first.next_page_token)
    assert [event.uid for event in (*first.events, *rest.events)] == [present.uid] * 5
    assert not rest.next_page_token


async def test_a_trail_of_no_such_job_is_not_found(api: Api, kind: str):
    other = await api.create(kind)
    await api.create(kind, job_id=kind)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await types(api, kind, other.uid)


@pytest.mark.parametrize("uid", ["x", "01890A5D-AC96-774B-BCCE-B302099A8057", "01890a5dac96774bbcceb302099a8057"])
async def test_a_uid_in_another_form_is_refused(api: Api, kind: str, uid: str):
    with invalid("uid"):
        await types(api, kind, uid)


@pytest.mark.guarantee("3d.8")
async def test_leases_and_etags_of_an_earlier_job_are_of_no_use_for_the_next(api: Api, kind: str):
    earlier = await api.create(kind, job_id=kind)
    [claimed] = await api.claim(kind)
    await delete(api, kind)
    await api.create(kind, job_id=kind)
    await api.claim(kind)
    assert (await api.complete(claimed))[0].status == LEASE_LOST
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await delete(api, kind, etag=earlier.etag)


async def test_a_watch_ends_with_its_job_and_the_next_one_is_another(api: Api, kind: str):
    first = await api.create(kind, job_id=kind)
    async with api.watch_job(kind) as watch:
        await watch.message()
        await delete(api, kind)
        second = await api.create(kind, job_id=kind)
        [deleted] = await watch.rest()
    assert (deleted.type, deleted.job.uid, deleted.event.uid) == (DELETED, first.uid, first.uid)
    async with api.watch_job(kind, cursor=deleted.cursor) as watch:
        assert (await watch.message()).job.uid == second.uid


@pytest.mark.guarantee("3b.8")
async def test_pages_of_chunks_and_attempts_do_not_go_on_in_a_later_job_of_the_same_id(api: Api, kind: str):
    await api.create(kind, job_id=kind, item_count=1_001, chunk_size=1)
    await api.release(*await api.claim(kind, 2))
    of_view = (await api.get(kind)).next_chunks_page_token
    of_chunks = (await api.list_chunks(kind, page_size=1)).next_page_token
    of_attempts = (await api.jobs.ListAttempts(ListAttemptsRequest(job_id=kind, page_size=1))).next_page_token
    assert all((of_view, of_chunks, of_attempts))
    assert len((await api.list_chunks(kind, page_token=of_view)).chunks) == 1
    await delete(api, kind)
    await api.create(kind, job_id=kind, item_count=1_001, chunk_size=1)
    await api.release(*await api.claim(kind, 2))
    for token in of_view, of_chunks:
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await api.list_chunks(kind, page_token=token)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.jobs.ListAttempts(ListAttemptsRequest(job_id=kind, page_token=of_attempts))
    assert len((await api.list_chunks(kind, page_size=1)).chunks) == 1
