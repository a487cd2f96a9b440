"""The rules of webhooks: what an event tells, which percents are reached, when a delivery is tried again."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.history.change import Change, ChangeType
from jobledger_service.core.model.states import JobState
from jobledger_service.features.webhooks.deliveries import DeliveryAttempt, delivery_id, parse_delivery_id, schedule
from jobledger_service.features.webhooks.rules import (
    MAX_SECRETS,
    Secret,
    Webhook,
    WebhookEventType,
    event_types,
    reached,
    rotate,
)
from msgspec.structs import replace

from tests.docs.documents import ROOT

DAY = 86_400 * SECOND
FAILED = DeliveryAttempt(0, 0, 500, "answered 500")
PERCENTS = st.lists(st.integers(1, 99), unique=True).map(sorted)
SPANS = st.integers(0, 30 * DAY)


@given(PERCENTS, st.lists(st.floats(0, 100)).map(sorted))
def test_each_percent_is_reached_once_in_order_by_a_run_that_only_rises(percents: list[int], progress: list[float]):
    event_type = [
        p for before, after in zip([0.0, *progress], progress, strict=False) for p in reached(percents, before, after)
    ]
    assert event_type == [percent for percent in percents if progress and percent <= progress[-1]]


def change(kind: ChangeType, before: JobState | None, after: JobState | None) -> Change:
    return Change(kind, "somebody", before, after)


def test_one_commit_may_report_a_whole_life_in_order():
    queued, running, completed = JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED
    life = [
        change(ChangeType.CREATED, None, queued),
        change(ChangeType.CLAIMED, queued, running),
        change(ChangeType.CLAIMED, running, running),
        change(ChangeType.PROGRESSED, running, running),
        change(ChangeType.CHUNK_COMPLETED, running, completed),
        change(ChangeType.DELETED, completed, None),
    ]
    assert event_types(life, progressed=True) == [
        WebhookEventType.JOB_CREATED,
        WebhookEventType.JOB_STARTED,
        WebhookEventType.JOB_PROGRESS,
        WebhookEventType.JOB_COMPLETED,
        WebhookEventType.JOB_DELETED,
    ]
    assert event_types(life[2:4], progressed=False) == []


def test_another_run_is_an_event_and_a_chunk_that_goes_again_within_a_run_is_none():
    again = change(ChangeType.RETRIED, JobState.FAILED, JobState.QUEUED)
    within = change(ChangeType.RETRIED, JobState.RUNNING, JobState.RUNNING)
    assert event_types([again], progressed=False) == [WebhookEventType.JOB_RETRIED]
    assert event_types([within], progressed=False) == []


def test_the_schedule_is_the_one_of_the_document():
    rules, now, tries, times = schedule(5 * SECOND, DAY), 0, 0, [0]
    while (again := rules.next(tries := tries + 1, 0, replace(FAILED, start_time=now), jitter_sample=0.5)) is not None:
        times.append(now := again)
    page = (ROOT / "docs" / "webhooks.md").read_text()
    seconds = [0, 5, 20, 65, 200, 605, 1_820, 5_465, *(5_465 + 10_800 * n for n in range(1, 8)), 86_400]
    assert times == [second * SECOND for second in seconds]
    assert f"{len(times)} attempts in all" in page
    assert str(timedelta(seconds=seconds[-2])) == "22:31:05"


@given(st.integers(1, 60), SPANS, st.floats(0, 1), SPANS)
def test_an_attempt_is_never_outside_the_window(tries: int, now: int, jitter_sample: float, requested: int):
    again = schedule(5 * SECOND, DAY).next(tries, 0, DeliveryAttempt(0, now, 503, "", requested), jitter_sample)
    assert (again is None) == (now >= DAY)
    if again is not None:
        assert now < again <= DAY
        assert again >= min(now + requested, DAY)
    assert schedule(5 * SECOND, DAY).next(tries, 0, DeliveryAttempt(0, now, 410, ""), jitter_sample) is None


@given(st.lists(st.tuples(SPANS, SPANS), max_size=20))
def test_a_rotation_keeps_the_newest_and_no_secret_signs_longer_than_allowed(rotations: list[tuple[int, int]]):
    webhook = Webhook("o", "w", "https://example.org", (Secret("0", 0),), 0, 0)
    now, ends = 0, {"0": None}
    for number, (pause, grace_period) in enumerate(rotations, start=1):
        now += pause
        ends = {
            value: min(now + grace_period, now + grace_period if end is None else end) for value, end in ends.items()
        }
        ends[str(number)] = None
        webhook = rotate(webhook, str(number), grace_period, now)
        assert 1 <= len(webhook.secrets) <= MAX_SECRETS
        assert webhook.secrets[0] == Secret(str(number), now)
        assert {one.value: one.expire_time for one in webhook.secrets}.items() <= ends.items()
        signing = {value for value, end in ends.items() if end is None or now < end}
        assert len(webhook.signing(now)) == min(len(signing), MAX_SECRETS)


@given(st.uuids(), st.integers(0, 2**59), st.integers(0, 50))
def test_a_delivery_is_found_by_its_name(webhook: object, position: int, ordinal: int):
    name = delivery_id(str(webhook), position, ordinal)
    assert "." not in name
    assert parse_delivery_id(name, str(webhook)) == (position, ordinal)
    assert parse_delivery_id(name, "another") is None
    assert parse_delivery_id(name + "x", str(webhook)) is None
