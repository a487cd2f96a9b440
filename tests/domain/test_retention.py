"""How long ended jobs are kept: what a caller chose goes before what the operator set, which a retry undoes."""

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.bounds.limits import MAX_TIME
from jobledger_service.core.model.counts import Counts
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.job_progress import JobProgress
from jobledger_service.core.model.states import ENDED, JobState
from jobledger_service.features.retention.rules import Retention
from msgspec.structs import replace

WAITING = Job(JobSpec("me", "j", "k", b""), JobProgress(1), Counts(pending=1), 1)
spans = st.none() | st.integers(0, 100)
retentions = st.builds(Retention, completed=spans, failed=spans, cancelled=spans)
ends = st.sampled_from(sorted(ENDED))
chosen = st.none() | st.integers(1, 500)


def ended(state: JobState, at: int = 50, expire_time: int | None = None) -> Job:
    return replace(WAITING, state=state, end_time=at, expire_time=expire_time)


@given(retentions, ends, st.integers(0, 200), chosen)
def test_a_job_that_ends_goes_when_its_caller_reported_or_else_when_the_operator_did(
    kept: Retention, state: JobState, at: int, chosen: int | None
):
    before = replace(WAITING, expire_time=chosen)
    after = kept.applied(before, ended(state, at, chosen))
    span = getattr(kept, state.lower())
    by_rule = chosen is None and span is not None
    assert after.expires_by_rule == by_rule
    assert after.expire_time == (at + span if by_rule else chosen)


@given(retentions, ends, chosen)
def test_a_retry_takes_away_what_the_end_brought_and_nothing_else(kept: Retention, state: JobState, chosen: int | None):
    end = kept.applied(WAITING, ended(state, expire_time=chosen))
    again = kept.applied(end, replace(end, state=JobState.QUEUED, end_time=None))
    assert (again.expire_time, again.expires_by_rule) == (chosen, False)


@given(retentions, ends, st.integers(0, 9))
def test_a_change_of_an_ended_job_does_not_begin_its_time_again(kept: Retention, state: JobState, priority: int):
    end = kept.applied(WAITING, ended(state))
    changed = replace(end, priority=priority, update_time=900)
    assert kept.applied(end, changed) is changed


def test_no_job_is_kept_beyond_the_calendar():
    kept = Retention(completed=MAX_TIME)
    assert kept.applied(None, ended(JobState.COMPLETED, at=MAX_TIME - 1)).expire_time == MAX_TIME
