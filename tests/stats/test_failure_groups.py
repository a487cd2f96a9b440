"""Failed runs by reason: what is a group, how many rows there may be, and that the sums are exact over any span."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.counts import Counts
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.job_progress import JobProgress
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.statistics.failures import (
    DAY_HOURS,
    MAX_GROUPS,
    MAX_SHOWN,
    OTHER,
    FailureCounts,
    FailureGroups,
    bounded,
    count_failure,
    parse_mark,
    periods_of,
    run_mark,
)
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import StatisticsDelta
from jobledger_service.features.statistics.rules import StatsQuery
from jobledger_service.features.statistics.store import SqlStatisticsStore
from jobledger_service.features.statistics.tables import failures
from sqlalchemy import event, func, select

DAY = range(480_000, 480_024)
Failed = tuple[int, str, str, str, str]
"""Hour, owner, kind, error code and stage."""


def job(owner: str, kind: str, job_id: str = "j") -> Job:
    return Job(JobSpec(owner, job_id, kind, b""), JobProgress(1), Counts(), 0)


def write(database: Database, failed: Iterable[Failed]) -> None:
    """Add failures in one transaction."""
    delta = StatisticsDelta()
    for hour, owner, kind, code, stage in failed:
        count_failure(delta.failures, job(owner, kind), WorkError(code, "", stage), hour * HOUR)
    with WriteStore(database).transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, delta)


def read(database: Database, owner: str, hours: range, *kinds: str, service_jobs: bool = False) -> FailureGroups:
    return SqlStatisticsStore(database).figures(StatsQuery(owner, kinds, hours, 0, service_jobs)).failures


def summed(groups: FailureGroups) -> dict[tuple[str, str], int]:
    return {(one.error_code, one.stage): one.count for one in groups.shown}


@given(start=st.integers(0, 500), length=st.integers(0, 500))
def test_the_periods_of_a_span_are_its_hours_each_once_and_few(start: int, length: int):
    span = range(start, start + length)
    periods = [(first, hours) for hours, part in periods_of(span) for first in part if first % hours == 0]
    covered = [hour for first, hours in periods for hour in range(first, first + hours)]
    assert sorted(covered) == list(span)
    assert len(periods) <= 2 * (DAY_HOURS - 1) + length // DAY_HOURS


@given(job_id=st.text(), earlier=st.integers(0, 2**55), later=st.integers(0, 2**55))
def test_the_mark_of_a_later_run_is_greater(job_id: str, earlier: int, later: int):
    assert (run_mark(job_id, earlier) < run_mark(job_id, later)) == (earlier < later)
    assert parse_mark(run_mark(job_id, later)) == (job_id, later)


@given(known=st.sets(st.integers(0, 60), max_size=MAX_GROUPS), new=st.lists(st.integers(0, 60), max_size=200))
def test_a_period_never_has_more_groups_than_it_may_and_counts_every_run(known: set[int], new: list[int]):
    counts: FailureCounts = {}
    for n in new:
        count_failure(counts, job("me", "k"), WorkError(f"E{n}"), HOUR)
    had = {period: {(f"E{n}", "") for n in known} for period in counts}
    for period, groups in bounded(counts, had).items():
        assert sum(count for count, _ in groups.values()) == len(new)
        assert len({*groups, *had[period]} - {OTHER}) <= MAX_GROUPS
        if len(had[period] | {(f"E{n}", "") for n in new}) <= MAX_GROUPS:
            assert OTHER not in groups
        for n in known & set(new):
            assert groups[f"E{n}", ""][0] == new.count(n), "a known group keeps its own count"


@pytest.mark.guarantee("3e.6")
@pytest.mark.parametrize("seed", range(2))
def test_the_groups_of_any_span_are_those_of_its_runs(database: Database, seed: int):
    rng, failed = random.Random(seed), list[Failed]()
    hours = range(DAY.start - 40, DAY.start + 60)
    for _ in range(4):
        batch = [
            (rng.choice(hours), rng.choice(["me", "you"]), rng.choice(["a", "b.c", BULK]),
             rng.choice(["E1", "E2", "LEASE_EXPIRED"]), rng.choice(["", "fetch"]))
            for _ in range(60)
        ]  # fmt: skip
        write(database, batch)
        failed += batch
    for _ in range(10):
        start, stop = sorted(rng.sample(range(hours.start - 5, hours.stop + 30), 2))
        kinds, service = rng.choice([(), ("a",), ("a", BULK)]), rng.choice([True, False])
        meant = kinds or (("a", "b.c", BULK) if service else ("a", "b.c"))
        wanted = Counter(
            (code, stage)
            for hour, owner, kind, code, stage in failed
            if owner == "me" and kind in meant and start <= hour < stop
        )
        found = read(database, "me", range(start, stop), *kinds, service_jobs=service)
        assert summed(found) == wanted
        assert [one.count for one in found.shown] == sorted(wanted.values(), reverse=True)
        assert found.omitted == 0


@pytest.mark.guarantee("3b.14")
def test_invented_codes_make_no_more_rows_than_a_period_may_have(database: Database):
    hour = DAY.start + 3
    write(database, [(hour, "me", "k", "FIRST", "")])
    for batch in range(3):
        write(database, [(hour, "me", "k", f"E{batch}.{n}", "") for n in range(40)])
        write(database, [(hour, "me", "k", "FIRST", "")])
    write(database, [(hour, "you", "k", "E0.39", "")])
    with database.read() as connection:
        rows = (
            connection.execute(
                select(func.count()).select_from(failures).group_by(failures.c.kind_key, failures.c.hours)
            )
            .scalars()
            .all()
        )
    assert sorted(rows) == [1] * 4 + [MAX_GROUPS + 1] * 4, "by the hour and the day, of the kind and of all kinds"
    found = summed(read(database, "me", DAY))
    assert (sum(found.values()), found["FIRST", ""]) == (3 * 40 + 4, 4)
    assert found[OTHER] == 3 * 40 + 4 - 4 - (MAX_GROUPS - 1)
    assert summed(read(database, "you", DAY)) == {("E0.39", ""): 1}, "one owner's codes take no room of another's"


def test_the_largest_groups_are_shown_and_the_others_counted(database: Database):
    for hour in range(DAY.start, DAY.start + 4):
        write(database, [(hour, "me", "k", f"E{hour}.{n:02}", "") for n in range(MAX_GROUPS)])
    write(database, [(DAY.start, "me", "k", f"E{DAY.start}.07", "")])
    found = read(database, "me", range(DAY.start, DAY.start + 5))
    assert (len(found.shown), found.omitted) == (MAX_SHOWN, 4 * MAX_GROUPS - MAX_SHOWN)
    assert (found.shown[0].error_code, found.shown[0].count) == (f"E{DAY.start}.07", 2)


def test_failures_go_with_the_totals_of_their_time(database: Database):
    statistics = SqlStatisticsStore(database)
    for day in range(3):
        write(database, [(DAY.start + 24 * day, "me", "k", f"E{n}", "") for n in range(5)])
    gone = []
    while count := statistics.trim((DAY.start + 48) * HOUR, 7):
        gone.append(count)
    assert sum(gone) == 2 * 2 * 2 * 5, "of two days, by the hour and the day, of the kind and of all kinds"
    assert max(gone) == 7
    assert summed(read(database, "me", range(1, DAY.start + 100))) == {(f"E{n}", ""): 1 for n in range(5)}


@pytest.mark.parametrize(("runs", "statements"), [(0, 0), (1, 2), (64, 2)])
@pytest.mark.one_store("of the rows of one statement SQLite takes 64 at most; PostgreSQL any number")
def test_a_batch_reads_and_writes_its_failures_as_sets(database: Database, runs: int, statements: int):
    seen: list[str] = []
    event.listen(database.writer, "before_cursor_execute", lambda *given: seen.append(given[2]))
    write(database, [(DAY.start, "me", "k", f"E{n % 16}", "") for n in range(runs)])
    assert sum("failures" in statement for statement in seen) == statements
