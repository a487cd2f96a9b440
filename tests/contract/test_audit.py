"""The audit trail: what ListEvents still tells when the history is trimmed and the job is deleted."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.event_pb2 import Change, ChangeType, JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import EventOrder, ListEventsRequest

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import invalid, read, refused
from tests.support.pages import pages_of
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING
from tests.support.watching import DELETED

pytestmark = pytest.mark.long  # history and jobs are outlived

Connect = Callable[[Server], Api]
SERVICE = "jobledger"


async def trail(api: Api, job_id: str, page_size: int = 2, uid: str = "") -> list[JobEvent]:
    """Return a job's whole audit trail, read in small pages."""
    request = ListEventsRequest(job_id=job_id, page_size=page_size, uid=uid, order=EventOrder.EVENT_ORDER_POSITION_ASC)
    pages = [page async for page in pages_of(api.jobs.ListEvents, request)]
    assert max(len(page.events) for page in pages) <= page_size
    events = [event for page in pages for event in page.events]
    assert [event.position for event in events] == sorted({event.position for event in events})
    return events


def types(events: list[JobEvent]) -> list[str]:
    """Return what happened, in order."""
    return [ChangeType.Name(one.type).removeprefix("CHANGE_TYPE_") for event in events for one in event.changes]


def is_progress(event: JobEvent) -> bool:
    """Tell whether an event is of nothing but progress."""
    return {change.type for change in event.changes} == {ChangeType.CHANGE_TYPE_PROGRESSED}


async def lived(api: Api, kind: str, **fields: object) -> Job:
    """Return a job that failed, was retried, and has made progress to its end."""
    job = await api.create(kind, **fields)
    [claimed] = await api.claim(kind, worker="anna")
    await api.report(claimed, percent=10)
    await api.fail(claimed, not_retryable=True)
    await api.retry(job.job_id, reason="fixed the disk")
    [claimed] = await api.claim(kind, worker="bob")
    await api.report(claimed, percent=50)
    await api.complete(claimed)
    return job


async def test_the_trail_outlives_the_history_and_the_job(start_server: StartServer, connect: Connect, kind: str):
    server = start_server(TRIM_SECONDS="3600")
    job = await lived(connect(server), kind)
    whole = await trail(connect(server), job.job_id)
    assert sum(map(is_progress, whole)) == 2
    server.stop()

    server = start_server(server.database, event_retention="0")
    api = connect(server)
    async with api.watch_jobs(kind) as clock:
        while any(map(is_progress, kept := await trail(api, job.job_id))):
            await clock.bookmark()
        assert kept == [event for event in whole if not is_progress(event)]
        before = (await clock.bookmark()).cursor
        await api.delete(job.job_id, reason="no longer needed")
        while not await is_trimmed(api, before):
            await clock.bookmark()
    *reported, deleted = await trail(api, job.job_id)
    assert reported == kept
    [change] = deleted.changes
    assert (change.type, change.actor, change.from_state) == (ChangeType.CHANGE_TYPE_DELETED, "caller", COMPLETED)
    assert change.reason == "no longer needed"
    any_type = [number for number in ChangeType.values() if number]
    since = {"start_time": kept[1].commit_time}
    across = ListEventsRequest(filter={"kinds": [kind], "change_types": any_type, "commit_time": since})
    assert list((await api.jobs.ListEvents(across)).events) == [deleted, *kept[:0:-1]]
    across = ListEventsRequest(filter={"actors": ["bob"], "change_types": any_type}, page_size=1)
    assert list((await api.jobs.ListEvents(across)).events) == kept[-1:]
    assert types(kept) == [
        "CREATED", "CLAIMED", "CHUNK_FAILED", "RETRIED", "CLAIMED", "CHUNK_COMPLETED",
    ]  # fmt: skip


async def is_trimmed(api: Api, cursor: bytes) -> bool:
    """Tell whether the history is gone past a cursor."""
    try:
        async with api.watch_jobs(cursor=cursor) as watch:
            await watch.message()
    except grpc.aio.AioRpcError as error:
        return read(error).reason == "HISTORY_TRIMMED"
    return False


async def test_the_trail_of_a_deleted_job_ends_after_its_time(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server(event_retention="0", audit_retention="0"))
    job = await lived(api, kind, job_id="again")
    stays = await lived(api, kind)
    await api.delete(job.job_id)
    second = await api.create(kind, job_id="again")
    async with api.watch_jobs(kind) as clock:
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            while await trail(api, "again", uid=job.uid):
                await clock.bookmark()
        [created] = await trail(api, "again")
        assert created.commit_time == second.create_time
        await api.delete("again", force=True)
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            while await trail(api, "again"):
                await clock.bookmark()
    assert types(await trail(api, stays.job_id))[0] == "CREATED"


async def one(api: Api, job_id: str, type_: str) -> Change:
    """Return the one change of a type in a job's trail."""
    changes = [change for event in await trail(api, job_id) for change in event.changes]
    [found] = [change for change in changes if change.type == ChangeType.Value(f"CHANGE_TYPE_{type_}")]
    return found


async def test_every_end_names_who_and_why(api: Api, kind: str):
    cancelled = await api.create(kind)
    await api.cancel(cancelled.job_id, reason="wrong input")
    change = await one(api, cancelled.job_id, "CANCEL_REQUESTED")
    assert (change.actor, change.from_state, change.to_state) == ("caller", QUEUED, CANCELLED)
    assert change.reason == "wrong input"

    failed = await api.job_in(FAILED, kind)
    change = await one(api, failed.job_id, "CHUNK_FAILED")
    assert (change.actor, change.from_state, change.to_state) == ("worker-1", RUNNING, FAILED)
    assert change.reason == "BOOM"

    silent = await api.create(kind, retry_policy={"max_attempts": 1})
    await api.claim(kind, worker="anna", lease_duration={"seconds": 1})
    async with api.watch_job(silent.job_id) as watch:
        await watch.rest()
    change = await one(api, silent.job_id, "LEASE_EXPIRED")
    assert (change.actor, change.from_state, change.to_state) == (SERVICE, RUNNING, FAILED)
    assert "anna" in change.reason

    overdue = await api.job_in(RUNNING, kind)
    await api.cancel(overdue.job_id, reason="too slow", grace_period={"seconds": 0})
    async with api.watch_job(overdue.job_id) as watch:
        await watch.rest()
    first, last = [event.changes[0] for event in (await trail(api, overdue.job_id))[-2:]]
    assert (first.actor, first.reason, last.actor, last.reason) == (
        "caller", "too slow", SERVICE, "the grace period ended",
    )  # fmt: skip


async def test_an_expiry_names_its_reason(api: Api, kind: str):
    soon = Timestamp()
    soon.GetCurrentTime()
    job = await api.create(kind, expire_time=soon)
    async with api.watch_jobs(kind) as watch:
        await watch.message()
        await api.cancel(job.job_id)
        await watch.until(lambda message: message.type == DELETED)
    change = await one(api, job.job_id, "DELETED")
    assert (change.actor, change.from_state, change.reason) == (SERVICE, CANCELLED, "its expire_time has come")


async def test_a_reason_for_a_deletion_has_a_bound(api: Api, kind: str):
    job = await api.job_in(COMPLETED, kind)
    with invalid("reason"):
        await api.delete(job.job_id, reason="x" * 1_025)
