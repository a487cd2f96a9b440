"""Concurrency limits: a job has a slot of each limit over it or of none, and who waits is not overtaken."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from jobledger_service.core.model.bounds.slots import LimitScope, limit_key, scope_of, scope_of_key
from jobledger_service.core.model.counts import Counts
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.job_progress import JobProgress
from jobledger_service.features.limits.rules import (
    Limit,
    admitted,
    counted_limits,
    in_force,
    keys_over,
    released,
    scopes_over,
)
from msgspec.structs import replace

from tests.support.examples import at_most

SCOPES = ("kind:k", "label:a=1", "label:b=1")
EACH = ("each:a", "each:b")

labels = st.text(st.characters(exclude_characters="=", exclude_categories=["Cs"]), min_size=1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
scopes = (
    st.builds(LimitScope, kind=texts.filter(bool))
    | st.builds(LimitScope, label=labels, value=texts)
    | st.builds(LimitScope, label=labels)
)


@given(scopes)
def test_each_scope_has_one_text(scope: LimitScope):
    assert scope_of(scope.text) == scope
    assert scope_of_key(limit_key("me", scope)) == scope


def test_a_job_is_under_the_limits_of_its_kind_and_of_the_labels_that_it_names():
    spec = JobSpec("me", "j", "k", b"", limited_labels=("user", "gone"))
    keys = ["me/kind:k", "me/label:user=a=b/each:c", "me/each:user"]
    assert keys_over(spec, {"user": "a=b/each:c", "team": "x"}) == keys


def job(number: int, *labels: str) -> Job:
    spec = JobSpec("me", f"j{number}", "k", b"", limited_labels=labels)
    return Job(spec, JobProgress(1), Counts(pending=1), 1, labels=dict.fromkeys(labels, "1"))


class SlotMachine(RuleBasedStateMachine):
    """Jobs that come, end and are let in, under limits that an operator moves."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = {one.key: one for one in (Limit("me", scope, None, is_set=False) for scope in (*SCOPES, *EACH))}
        self.jobs: list[Job] = []
        self.made = 0

    def over(self, one: Job) -> list[Limit]:
        found = []
        for scope in scopes_over(one.spec, one.labels):
            each = scope.each and self.limits[limit_key("me", scope.each)]
            limit = in_force(self.limits[limit_key("me", scope)], each, "me", scope)
            found += [limit] if limit else []
        return found

    def counted(self, before: Job | None, after: Job | None) -> None:
        for sign, one in ((-1, before), (1, after)):
            for key in counted_limits(one) if one else ():
                limit = self.limits[key]
                name = "waiting" if one.parked_for == key else "running"
                self.limits[key] = replace(limit, **{name: getattr(limit, name) + sign})

    @rule(labels=st.sets(st.sampled_from("ab")))
    def come(self, labels: set[str]) -> None:
        self.made += 1
        new = job(self.made, *sorted(labels))
        after = admitted(new, self.over(new))
        for key in after.slots:
            limit = next(one for one in self.over(new) if one.key == key)
            assert limit.running < limit.max_running
            assert not limit.waiting
        self.counted(None, after)
        self.jobs.append(after)

    @rule(number=st.integers(0, 99))
    def end(self, number: int) -> None:
        if self.jobs:
            one = self.jobs.pop(number % len(self.jobs))
            after = released(one)
            assert counted_limits(after) == ()
            self.counted(one, after)

    @rule(number=st.integers(0, 99))
    def let_in(self, number: int) -> None:
        parked = [one for one in self.jobs if one.parked_for]
        if parked:
            one = parked[number % len(parked)]
            self.counted(one, None)
            after = admitted(one, self.over(one))
            self.counted(None, after)
            self.jobs[self.jobs.index(one)] = after

    @rule(scope=st.sampled_from((*SCOPES, *EACH)), limit=st.none() | st.integers(0, 3))
    def move(self, scope: str, limit: int | None) -> None:
        key = f"me/{scope}"
        self.limits[key] = replace(self.limits[key], max_running=limit, is_set=limit is not None)

    @invariant()
    def a_job_has_slots_or_waits_for_one(self) -> None:
        for one in self.jobs:
            keys = {limit_key("me", scope) for scope in scopes_over(one.spec, one.labels)}
            assert not (one.slots and one.parked_for)
            assert keys >= {*counted_limits(one)}

    @invariant()
    def a_limit_for_each_value_counts_nothing(self) -> None:
        assert not any(self.limits[f"me/{scope}"].used for scope in EACH)

    @invariant()
    def counts_are_those_of_the_jobs(self) -> None:
        for key, limit in self.limits.items():
            assert limit.running == sum(key in one.slots for one in self.jobs)
            assert limit.waiting == sum(key == one.parked_for for one in self.jobs)


SlotMachine.TestCase.settings = at_most(40, steps=40)
TestSlotMachine = SlotMachine.TestCase


limits = st.builds(
    Limit,
    st.just("me"),
    st.sampled_from(SCOPES),
    max_running=st.integers(0, 3),
    running=st.integers(0, 4),
    waiting=st.integers(0, 2),
)


@given(st.lists(limits, max_size=3, unique_by=lambda limit: limit.key))
def test_a_job_is_admitted_where_every_limit_has_a_slot_and_nobody_waits(over: list[Limit]):
    after = admitted(job(1), over)
    open_ = [limit.running < limit.max_running and not limit.waiting for limit in over]
    assert after.slots == (tuple(limit.key for limit in over) if all(open_) else ())
    assert after.parked_for == next((limit.key for limit, is_open in zip(over, open_, strict=True) if not is_open), "")


@given(st.lists(limits, max_size=3, unique_by=lambda limit: limit.key))
def test_a_job_that_waited_is_admitted_where_every_limit_has_a_slot_regardless_of_who_waits(over: list[Limit]):
    after = admitted(replace(job(1), parked_for="me/kind:k"), over)
    full = next((limit.key for limit in over if limit.running >= limit.max_running), "")
    assert after.parked_for == full
    assert after.slots == (() if full else tuple(limit.key for limit in over))
