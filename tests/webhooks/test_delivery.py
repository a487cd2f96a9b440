"""What is delivered: exactly the events that there are, signed, at least once, in order for each job."""

import base64
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.job_service_pb2 import DeleteJobRequest, EventOrder, ListEventsRequest, RetryJobRequest

from tests.support.receiver import Answer, Received, Receiver
from tests.support.states import CANCELLED
from tests.webhooks.conftest import CREATED, DELIVERED, PENDING, TYPES, Hooks, types_of


async def test_the_life_of_a_job_is_reported_in_order(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind)
    api = hook.api
    job = await api.create(kind, labels={"team": "search"}, input={"secret": "of the workers"})
    [claimed] = await api.claim(kind)
    await api.fail(claimed, not_retryable=True)
    await api.jobs.RetryJob(RetryJobRequest(job_id=job.job_id))
    [claimed] = await api.claim(kind)
    await api.complete(claimed)
    await api.jobs.DeleteJob(DeleteJobRequest(job_id=job.job_id))
    reported = await receiver.until(lambda one: one.type == "job.deleted")
    assert types_of(reported) == [
        *("job.created", "job.started", "job.failed", "job.retried", "job.started"),
        *("job.progress", "job.completed", "job.deleted"),
    ]
    events = (
        await api.jobs.ListEvents(ListEventsRequest(job_id=job.job_id, order=EventOrder.EVENT_ORDER_POSITION_ASC))
    ).events
    assert {one.position for one in reported} == {event.position for event in events}
    assert len({one.id for one in reported}) == len(reported)
    assert all(one.verified_by(created.secret) for one in reported)
    assert not any("." in one.id for one in reported)  # the dot divides what is signed


async def test_the_body_is_the_job_in_view_basic(hook: Hooks, receiver: Receiver, kind: str):
    await hook.create(receiver, kind)
    job = await hook.api.create(kind, display_name="Film", labels={"team": "é"}, input={"secret": "of the workers"})
    reported = await receiver.next()
    assert reported.headers["content-type"] == "application/json"
    assert sorted(reported.body) == ["cursor", "data", "position", "timestamp", "type"]
    data = reported.body["data"]
    assert (data["jobId"], data["kind"], data["displayName"], data["labels"]) == (
        job.job_id,
        kind,
        "Film",
        {"team": "é"},
    )
    assert (data["state"], data["progress"]["percent"], data["retryCount"]) == ("JOB_STATE_QUEUED", 0, 0)
    assert not {"input", "chunks"} & set(data)
    assert datetime.fromisoformat(reported.body["timestamp"]) == job.create_time.ToDatetime(UTC)
    cursor = base64.b64decode(reported.body["cursor"])
    await hook.api.cancel(job.job_id)
    async with hook.api.watch_jobs(kind, cursor=cursor) as watch:
        assert (await watch.change()).job.state == CANCELLED


async def test_the_end_of_a_job_is_reported_with_its_output_and_nothing_else_is(
    hook: Hooks, receiver: Receiver, kind: str
):
    types = [TYPES.WEBHOOK_EVENT_TYPE_JOB_STARTED, TYPES.WEBHOOK_EVENT_TYPE_JOB_PROGRESS]
    await hook.create(receiver, kind, event_types=[*types, TYPES.WEBHOOK_EVENT_TYPE_JOB_COMPLETED])
    output = {"frames": 7, "parts": ["a", None, {"b": True}]}
    job = await hook.api.create(kind, item_count=2, chunk_size=1)
    first, second = await hook.api.claim(kind, 2)
    await hook.api.complete(first, job_output=output, output={"of": "a chunk"})
    await hook.api.complete(second)
    reported = {one.type: one.body["data"] for one in await receiver.take(4)}
    assert {data["uid"] for data in reported.values()} == {job.uid}
    assert {type_ for type_, data in reported.items() if "output" in data} == {"job.completed"}
    assert reported["job.completed"]["output"] == output


async def test_only_what_was_asked_for_is_reported(hook: Hooks, receiver: Receiver, kind: str):
    types = [TYPES.WEBHOOK_EVENT_TYPE_JOB_CANCELLED]
    await hook.create(receiver, kind, event_types=types, labels={"team": "a", "tier": "1"})
    wanted = {"team": "a", "tier": "1", "more": "x"}
    for labels in ({"team": "a"}, {"team": "b", "tier": "1"}, wanted):
        job = await hook.api.create(kind, labels=labels)
        await hook.api.cancel(job.job_id)
    other = await hook.api.create(f"{kind}.other", labels=wanted)
    await hook.api.cancel(other.job_id)
    last = await hook.api.create(kind, labels=wanted)
    await hook.api.cancel(last.job_id)
    reported = await receiver.take(2)
    expected = {("job.cancelled", job.job_id), ("job.cancelled", last.job_id)}
    assert {(one.type, one.job_id) for one in reported} == expected  # jobs have no order among each other


async def test_jobs_of_the_service_are_reported_only_to_a_webhook_that_names_their_kind(
    hook: Hooks, receiver: Receiver, kind: str
):
    await hook.api.create(kind)
    with Receiver() as other:
        of_all = (await hook.create_at(receiver.url, event_types=CREATED)).webhook.webhook_id
        await hook.create(other, "jobledger.bulk", event_types=CREATED)
        run = (await hook.api.jobs.CancelJobs(CancelJobsRequest(filter={"kinds": [kind]}))).job
        mine = await hook.api.create(kind)
        assert (await other.next()).job_id == run.job_id
        assert (await receiver.next()).job_id == mine.job_id
        assert [one.job_id for one in await hook.deliveries(of_all)] == [mine.job_id]


async def test_a_webhook_is_notified_of_what_follows_its_creation(hook: Hooks, receiver: Receiver, kind: str):
    before = await hook.api.create(kind)
    await hook.create(receiver, kind)
    await hook.api.cancel(before.job_id)
    assert types_of([await receiver.next()]) == ["job.cancelled"]


@pytest.mark.parametrize(
    ("reports", "reported"),
    [
        ([10, 80], [[25, 50, 75]]),
        ([25], [[25]]),
        ([24.9, 25, 26, 49, 51], [[25], [50]]),
        ([60, 61, 62], [[25, 50]]),
    ],
)
async def test_a_jump_over_several_percents_is_reported_once_with_all_of_them(
    hook: Hooks, receiver: Receiver, kind: str, reports: list[float], reported: list[list[int]]
):
    types = [TYPES.WEBHOOK_EVENT_TYPE_JOB_PROGRESS, TYPES.WEBHOOK_EVENT_TYPE_JOB_CANCELLED]
    await hook.create(receiver, kind, event_types=types)
    job = await hook.api.create(kind)
    [claimed] = await hook.api.claim(kind)
    for percent in reports:
        await hook.api.report(claimed, percent=percent)
    await hook.api.cancel(job.job_id, force=True)
    *progress, last = await receiver.until(lambda one: one.type == "job.cancelled")
    assert [one.body["percents"] for one in progress] == reported
    assert "percents" not in last.body


async def test_percents_of_a_job_that_was_under_way_are_those_reached_since(hook: Hooks, receiver: Receiver, kind: str):
    await hook.api.create(kind)
    [claimed] = await hook.api.claim(kind)
    await hook.api.report(claimed, percent=60)
    progress = [TYPES.WEBHOOK_EVENT_TYPE_JOB_PROGRESS]
    await hook.create(receiver, kind, event_types=progress, progress_percents=[99, 50, 70, 50])
    for percent in (61, 75, 98):
        await hook.api.report(claimed, percent=percent)
    await hook.api.complete(claimed)
    assert [one.body["percents"] for one in await receiver.take(2)] == [[70], [99]]


async def test_every_event_arrives_in_order_for_its_job_whatever_fails(hook: Hooks, receiver: Receiver, kind: str):
    rng, failures = random.Random(11), Counter[str]()

    def answer(one: Received) -> Answer:
        # Each wait is three times as long as the one before: nothing fails so often that it takes minutes.
        status = rng.choice((200, 200, 200, 500, 503)) if failures[one.id] < 5 else 200
        failures[one.id] += status != 200
        return Answer(status)

    receiver.answer = answer
    created = await hook.create(receiver, kind)
    jobs = [await hook.api.create(kind) for _ in range(12)]
    for claimed in await hook.api.claim(kind, 12):
        await hook.api.complete(claimed)
    taken: dict[str, list[tuple[int, str]]] = defaultdict(list)
    expected = 4 * len(jobs)
    while sum(map(len, taken.values())) < expected:
        one = await receiver.next()
        assert one.verified_by(created.secret)
        if one.status == 200:
            taken[one.job_id].append((one.position, one.type))
    life = ["job.created", "job.started", "job.progress", "job.completed"]
    for job in jobs:
        assert [reported for _, reported in taken[job.job_id]] == life
        assert taken[job.job_id] == sorted(taken[job.job_id], key=lambda one: one[0])
    deliveries = await hook.settled(created.webhook.webhook_id, DELIVERED, count=expected)
    assert len(deliveries) == expected


async def test_a_delivery_waits_for_the_one_before_of_its_job_alone(hook: Hooks, receiver: Receiver, kind: str):
    receiver.answer = lambda one: Answer(500 if one.body["data"]["displayName"] == "held" else 200)
    created = await hook.create(receiver, kind)
    held, free = [await hook.api.create(kind, display_name=name) for name in ("held", "free")]
    for job in (held, free):
        await hook.api.cancel(job.job_id)
    reported = await receiver.until(lambda one: (one.job_id, one.type) == (free.job_id, "job.cancelled"))
    assert {one.type for one in reported if one.job_id == held.job_id} <= {"job.created"}
    mine = [one for one in await hook.deliveries(created.webhook.webhook_id) if one.job_id == held.job_id]
    assert [one.event_type for one in mine] == [TYPES.WEBHOOK_EVENT_TYPE_JOB_CANCELLED, *CREATED]
    assert {one.state for one in mine} == {PENDING}
    assert (mine[0].attempt_count, mine[0].HasField("next_attempt_time")) == (0, False)
    receiver.fail(times=0)
    reported = await receiver.until(lambda one: (one.job_id, one.type) == (held.job_id, "job.cancelled"))
    assert [one.type for one in reported if one.status == 200] == ["job.created", "job.cancelled"]


async def test_two_webhooks_are_distinguished(hook: Hooks, receiver: Receiver, kind: str):
    one, two = [await hook.create(receiver, kind) for _ in range(2)]
    await hook.api.create(kind)
    reported = await receiver.take(2)
    assert len({received.id for received in reported}) == 2
    assert {received.verified_by(one.secret) for received in reported} == {True, False}
    assert {received.verified_by(two.secret) for received in reported} == {True, False}
