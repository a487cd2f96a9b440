"""ListJobEvents: the audit trail of a job - who did what and when - which outlives the job."""

from itertools import pairwise
from uuid import uuid4

import grpc
from jobledger.v1.event_pb2 import Change, ChangeType, JobEvent
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.job_service_pb2 import (
    DeleteJobRequest,
    ListJobEventsRequest,
    ListJobEventsResponse,
    RetryJobRequest,
    UpdateJobRequest,
)

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import COMPLETED, FAILED, QUEUED, RUNNING

UNSPECIFIED = JobState.JOB_STATE_UNSPECIFIED


async def page(api: Api, job_id: str, **fields: object) -> ListJobEventsResponse:
    """Return one page of a job's history."""
    return await api.jobs.ListJobEvents(ListJobEventsRequest(job_id=job_id, **fields))


async def history(api: Api, job_id: str) -> list[JobEvent]:
    """Return a job's history, having checked what holds of every one."""
    events = list((await page(api, job_id)).events)
    assert {event.job_id for event in events} == {job_id}
    assert [event.revision for event in events] == list(range(1, len(events) + 1))
    for before, after in pairwise(events):
        assert before.position < after.position
        assert before.commit_time.ToNanoseconds() <= after.commit_time.ToNanoseconds()
    assert all(change.actor for event in events for change in event.changes)
    return events


def types(events: list[JobEvent]) -> list[str]:
    """Return what happened, in order."""
    return [ChangeType.Name(one.type).removeprefix("CHANGE_TYPE_") for event in events for one in event.changes]


def states(change: Change) -> tuple[JobState, JobState]:
    """Return the job's state before and after a change."""
    return change.from_state, change.to_state


async def test_a_whole_life_is_reported_in_order(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    mask = {"paths": ["priority"]}
    await api.jobs.UpdateJob(UpdateJobRequest(job_id=job_id, update_mask=mask, priority=9))
    [claimed] = await api.claim(kind, worker="anna")
    await api.report(claimed, percent=10)
    await api.release(claimed, reason="shutting down")
    [claimed] = await api.claim(kind, worker="bob")
    await api.fail(claimed, not_retryable=True)
    await api.jobs.RetryJob(RetryJobRequest(job_id=job_id, reason="fixed the disk"))
    [claimed] = await api.claim(kind, worker="carol")
    await api.complete(claimed)
    await api.jobs.DeleteJob(DeleteJobRequest(job_id=job_id))

    events = await history(api, job_id)
    assert types(events) == [
        "CREATED", "UPDATED", "CLAIMED", "PROGRESSED", "CHUNK_RELEASED", "CLAIMED", "CHUNK_FAILED", "RETRIED",
        "CLAIMED", "CHUNK_COMPLETED", "DELETED",
    ]  # fmt: skip
    changes = [event.changes[0] for event in events]
    assert [states(changes[n]) for n in (0, 2, 6, 7, 9)] == [
        (UNSPECIFIED, QUEUED), (QUEUED, RUNNING), (RUNNING, FAILED), (FAILED, QUEUED), (RUNNING, COMPLETED),
    ]  # fmt: skip
    assert states(changes[10]) == (COMPLETED, UNSPECIFIED)
    assert [changes[n].actor for n in (2, 3, 4, 5, 6, 8, 9)] == ["anna", "anna", "anna", "bob", "bob", "carol", "carol"]
    assert changes[4].reason == "shutting down"
    assert changes[7].reason == "fixed the disk"
    assert [changes[n].chunk_index for n in (2, 4, 6, 9) if changes[n].HasField("chunk_index")] == [0, 0, 0, 0]


async def test_a_cancellation_names_its_reason(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.cancel(job_id, reason="wrong input")
    event = (await history(api, job_id))[-1]
    assert types([event]) == ["CANCEL_REQUESTED"]
    assert event.changes[0].reason == "wrong input"


async def test_what_changed_nothing_is_not_reported(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed)
    await api.complete(claimed)
    await api.complete(claimed)
    await api.cancel(job_id)
    assert types(await history(api, job_id)) == ["CREATED", "CLAIMED", "CHUNK_COMPLETED"]


async def test_the_pages_follow_on(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    for percent in range(1, 9):
        await api.report(claimed, percent=percent)
    first = await page(api, job_id, page_size=4)
    second = await page(api, job_id, page_size=1_000_000, page_token=first.next_page_token)
    assert [event.revision for event in first.events] == [1, 2, 3, 4]
    assert [event.revision for event in second.events] == [5, 6, 7, 8, 9, 10]
    assert not second.next_page_token


async def test_a_job_that_never_was_is_not_found(api: Api):
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await page(api, uuid4().hex)


async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str):
    job_id, other = [(await api.job_in(RUNNING, kind)).job_id for _ in range(2)]
    with invalid("job_id"):
        await page(api, "")
    with invalid("page_size"):
        await page(api, job_id, page_size=-1)
    token = (await page(api, job_id, page_size=1)).next_page_token
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await page(api, other, page_token=token)
