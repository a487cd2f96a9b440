"""The ledger's time against two clocks: it never falls, forgets jumps that are soon over, and catches up."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from jobledger_service.core.model.history.ledger_time import MAX_STEP, SLOW_DIVISOR, WAIT_DIVISOR, LedgerTime

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
START = 1_000_000 * HOUR

passed_times = st.integers(0, 2 * HOUR)
jumps = st.integers(MAX_STEP + 1, 100 * HOUR)
parts = st.integers(1, 50)


class Clocks(RuleBasedStateMachine):
    """A machine whose clock is set at any time to anything, beside a steady one."""

    @initialize(after=st.integers(START - HOUR, START + HOUR))
    def begin(self, after: int) -> None:
        self.machine, self.steady = START, 0
        self.ledger = LedgerTime(START, 0, after)
        self.last = self.ledger.read(self.machine, self.steady)
        assert self.last == max(START, after)

    @rule(offset=st.integers(-200 * HOUR, 200 * HOUR))
    def set_clock(self, offset: int) -> None:
        self.machine += offset

    @rule(passed=passed_times)
    def read(self, passed: int) -> None:
        self.machine, self.steady = self.machine + passed, self.steady + passed
        now = self.ledger.read(self.machine, self.steady)
        assert now - self.last >= passed // SLOW_DIVISOR
        assert now - self.last <= passed or now == self.machine, "only the machine's clock takes it ahead"
        self.last = now

    @rule(late=st.integers(0, SECOND))
    def read_by_a_thread_that_was_interrupted(self, late: int) -> None:
        now = self.ledger.read(self.machine - late, self.steady - late)
        assert now >= self.last
        self.last = now

    @rule(count=st.integers(1, 5))
    def stand_until_it_has_caught_up(self, count: int) -> None:
        difference = abs(self.last - self.machine)
        for _ in range(count):
            self.machine, self.steady = self.machine + difference, self.steady + difference
            self.last = self.ledger.read(self.machine, self.steady)
        if count > SLOW_DIVISOR:
            assert self.last == self.machine


TestClocks = Clocks.TestCase


@given(jump=jumps, share=st.fractions(0, 1), count=parts)
def test_a_jump_ahead_that_is_over_soon_leaves_no_trace(jump: int, share: float, count: int):
    ledger, lasted = LedgerTime(START, 0), int(share * (jump // WAIT_DIVISOR - 1))
    for number in range(count + 1):
        steady = SECOND + lasted * number // count
        assert ledger.read(START + steady + jump, steady) == START + steady
    after = SECOND + lasted + 1
    assert ledger.read(START + after, after) == START + after


@given(jump=jumps, count=parts)
def test_a_jump_ahead_that_lasts_is_followed(jump: int, count: int):
    ledger, wait = LedgerTime(START, 0), jump // WAIT_DIVISOR
    times = [ledger.read(START + steady + jump, steady) for steady in (wait * n // count for n in range(count + 1))]
    assert times[-1] == START + jump + wait
    assert all(time == START + wait * n // count for n, time in enumerate(times[:-1]))


@given(first=jumps, second=jumps)
def test_what_a_small_jump_has_waited_does_not_count_for_a_large_one(first: int, second: int):
    ledger, waited = LedgerTime(START, 0), first // WAIT_DIVISOR - 1
    ledger.read(START + first, 0)
    ledger.read(START + waited + first, waited)
    assert ledger.read(START + waited + first + second, waited) == START + waited
    soon = waited + (first + second) // WAIT_DIVISOR - 1
    assert ledger.read(START + soon + first + second, soon) == START + soon


@given(behind=st.integers(1, 100 * HOUR), count=parts)
def test_a_clock_that_is_set_back_is_met_at_half_the_speed(behind: int, count: int):
    ledger, last = LedgerTime(START - behind, 0, START), START
    steps = [2 * behind * n // count for n in range(1, count + 1)]
    for before, steady in zip([0, *steps], steps, strict=False):
        now = ledger.read(START - behind + steady, steady)
        assert now == max(last + (steady - before) // 2, START - behind + steady)
        last = now
    assert last == START + behind


@given(step=st.integers(1, MAX_STEP))
def test_small_steps_ahead_are_followed_at_once(step: int):
    assert LedgerTime(START, 0).read(START + step, 0) == START + step


def test_a_commit_of_another_server_raises_it():
    ledger = LedgerTime(START, 0)
    ledger.raise_to(START + HOUR)
    assert ledger.read(START, 0) == START + HOUR
    ledger.raise_to(START)
    assert ledger.read(START + 2 * HOUR, 2 * HOUR) == START + 2 * HOUR
