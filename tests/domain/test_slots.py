"""Concurrency limits: a job has a slot of each limit over it or of none, and who waits is not overtaken."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from jobledger_service.core.model.job import Counts, Job, JobProgress, JobSpec
from jobledger_service.core.model.slots import LIMIT_REFRESH_INTERVAL, scope_of
from jobledger_service.features.limits.rules import (
    Limit,
    admitted,
    counted_limits,
    limits_over,
    needs_update,
    released,
)
from msgspec.structs import replace

SCOPES = ("kind:k", "label:a=1", "label:b=1")


def job(number: int, *labels: str) -> Job:
    return Job(
        JobSpec("me", f"j{number}", "k", b""), JobProgress(1), Counts(pending=1), 1, labels=dict.fromkeys(labels, "1")
    )


class SlotMachine(RuleBasedStateMachine):
    """Jobs that come, end and are let in, under limits that an operator moves."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = {one.key: one for one in (Limit("me", scope, None) for scope in SCOPES)}
        self.jobs: list[Job] = []
        self.made = 0

    def over(self, one: Job) -> list[Limit]:
        return [self.limits[key] for key in limits_over(one)]

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
            limit = self.limits[key]
            assert limit.max_running is None or (limit.running < limit.max_running and not limit.waiting)
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

    @rule(scope=st.sampled_from(SCOPES), limit=st.none() | st.integers(0, 3))
    def move(self, scope: str, limit: int | None) -> None:
        key = f"me/{scope}"
        self.limits[key] = replace(self.limits[key], max_running=limit)

    @invariant()
    def a_job_has_all_slots_or_none(self) -> None:
        for one in self.jobs:
            assert bool(one.slots) != bool(one.parked_for)
            assert not one.slots or one.slots == limits_over(one)
            assert not one.parked_for or one.parked_for in limits_over(one)

    @invariant()
    def counts_are_those_of_the_jobs(self) -> None:
        for key, limit in self.limits.items():
            assert limit.running == sum(key in one.slots for one in self.jobs)
            assert limit.waiting == sum(key == one.parked_for for one in self.jobs)


SlotMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSlotMachine = SlotMachine.TestCase


limits = st.builds(
    Limit,
    st.just("me"),
    st.sampled_from(SCOPES),
    max_running=st.none() | st.integers(0, 3),
    running=st.integers(0, 4),
    waiting=st.integers(0, 2),
)


@given(st.lists(limits, max_size=3, unique_by=lambda limit: limit.key))
def test_a_job_is_admitted_where_every_limit_has_a_slot_and_nobody_waits(over: list[Limit]):
    after = admitted(job(1), over)
    open_ = [limit.max_running is None or (limit.running < limit.max_running and not limit.waiting) for limit in over]
    assert after.slots == (tuple(limit.key for limit in over) if all(open_) else ())
    assert after.parked_for == next((limit.key for limit, is_open in zip(over, open_, strict=True) if not is_open), "")


@given(st.lists(limits, max_size=3, unique_by=lambda limit: limit.key))
def test_a_job_that_waited_is_admitted_where_every_limit_has_a_slot_regardless_of_who_waits(over: list[Limit]):
    after = admitted(replace(job(1), parked_for="me/kind:k"), over)
    full = next(
        (limit.key for limit in over if limit.max_running is not None and limit.running >= limit.max_running), ""
    )
    assert after.parked_for == full
    assert after.slots == (() if full else tuple(limit.key for limit in over))


def test_a_limit_that_a_job_brings_along_moves_no_operators_and_none_that_was_just_set():
    brought = Limit("me", "kind:k", 2, by_job=True, set_time=0)
    operators = Limit("me", "kind:k", 1)
    assert needs_update(brought, None, 0)
    assert needs_update(brought, replace(operators, max_running=None), 0), "it bounds nothing"
    assert not needs_update(brought, operators, 0)
    assert not needs_update(brought, brought, LIMIT_REFRESH_INTERVAL)
    assert needs_update(brought, brought, LIMIT_REFRESH_INTERVAL + 1), (
        "now and then it is noted that it is still brought along"
    )
    assert needs_update(replace(brought, max_running=3), brought, 1)
    assert scope_of(brought.key) == "kind:k"
