"""How a webhook comes to be paused, disabled and active again, and what a change of it leaves as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.states import WebhookState
from jobledger_service.features.webhooks.rules import (
    DEFAULT_PERCENTS,
    SECRET_SHOWN,
    Secret,
    Webhook,
    WebhookEventType,
    answered,
    rotate,
    update,
)
from msgspec.structs import asdict, replace

PAUSE_AFTER = 10
ACTIVE, DISABLED, PAUSED = WebhookState.ACTIVE, WebhookState.DISABLED, WebhookState.PAUSED
PROGRESS, CREATED = WebhookEventType.JOB_PROGRESS, WebhookEventType.JOB_CREATED
NEW = Webhook("me", "w", "https://example.org/", (Secret("first", 1),), 1, 1)

outcomes = st.lists(st.tuples(st.sampled_from(["taken", "failed", "failed", "gone", "resumed"]), st.integers(0, 6)))


@given(outcomes)
def test_a_webhook_is_paused_when_nothing_was_taken_for_so_long_and_disabled_by_410_alone(history: list):
    webhook, now, since, state = NEW, 1, None, ACTIVE
    for outcome, passed in history:
        now += passed
        if outcome == "resumed":
            webhook = update(webhook, {"state": ACTIVE}, now)
            since = since if state is ACTIVE else None
            state = ACTIVE
        else:
            failed_at = None if outcome == "taken" else now
            webhook = answered(webhook, failed_at, gone=outcome == "gone", pause_after=PAUSE_AFTER, now=now)
            if state is ACTIVE:
                since = None if outcome == "taken" else now if since is None and outcome == "failed" else since
                if outcome == "gone":
                    state = DISABLED
                elif since is not None and now - since >= PAUSE_AFTER:
                    state = PAUSED
        assert webhook.state is state
        assert bool(webhook.state_reason) == (state is not ACTIVE)
        assert state is not ACTIVE or webhook.failing_since_time == since


@pytest.mark.parametrize("state", [DISABLED, PAUSED])
@pytest.mark.parametrize("failed_at", [None, 5])
def test_a_late_answer_changes_nothing_of_a_webhook_that_gets_no_deliveries(state: WebhookState, failed_at: int | None):
    webhook = replace(NEW, state=state, state_reason="because", failing_since_time=2)
    assert answered(webhook, failed_at, gone=False, pause_after=0, now=9) is webhook


fields = {
    "url": st.just("https://example.org/new"),
    "event_types": st.sampled_from(((CREATED,), (PROGRESS,), (CREATED, PROGRESS))),
    "kinds": st.sampled_from(((), ("k",))),
    "labels": st.sampled_from(({}, {"a": "1"})),
    "description": st.text(max_size=3),
}


@given(st.fixed_dictionaries({}, optional=fields), st.sampled_from(((CREATED,), (CREATED, PROGRESS))))
def test_an_update_changes_what_it_names_and_progress_is_reported_at_percents(new: dict, types: tuple):
    before = replace(NEW, event_types=types, progress_percents=DEFAULT_PERCENTS if PROGRESS in types else ())
    after = update(before, new, 9)
    assert {name: value for name, value in asdict(after).items() if name in new} == new
    assert after.update_time == 9
    assert bool(after.progress_percents) == (PROGRESS in after.event_types)
    unnamed = set(asdict(before)) - set(new) - {"update_time", "progress_percents"}
    assert all(getattr(after, name) == getattr(before, name) for name in unnamed)


def test_percents_of_progress_that_is_not_reported_are_refused():
    new = {"progress_percents": (50,)}
    with pytest.raises(InvalidField, match="JOB_PROGRESS"):
        update(replace(NEW, event_types=(CREATED,)), new, 9)
    assert update(replace(NEW, event_types=(PROGRESS,), progress_percents=(10,)), new, 9).progress_percents == (50,)


@given(st.integers(0, 2 * SECRET_SHOWN), st.booleans())
def test_a_secret_is_shown_again_for_a_day_unless_it_was_rotated(passed: int, rotated: bool):
    webhook = rotate(NEW, "second", 0, 2) if rotated else NEW
    assert webhook.shown_secret(1 + passed) == ("" if rotated or passed >= SECRET_SHOWN else "first")


@given(
    st.sampled_from((("me",), ("me", "you"))),
    st.sampled_from(((), ("k",), ("k", "l"))),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
)
def test_a_webhook_is_notified_of_its_owners_jobs_of_its_kinds_with_all_of_its_labels(
    owners: tuple, kinds: tuple, wanted: dict, labels: dict
):
    webhook = replace(NEW, kinds=kinds, labels=wanted)
    for owner in owners:
        for kind in ("k", "l", "m"):
            meant = owner == "me" and (not kinds or kind in kinds) and wanted.items() <= labels.items()
            assert webhook.concerns(owner, kind, labels) == meant
