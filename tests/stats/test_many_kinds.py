"""GetJobStats reads as many rows, with as many statements, however many jobs there are, and kinds above a thousand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.database.vitals import VitalsReader
from jobledger_service.core.model.bounds.limits import HOUR, MAX_SUM
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.statistics import figures as figures_module
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import Measure, StatisticsDelta
from jobledger_service.features.statistics.rules import Figures, StatsQuery
from jobledger_service.features.statistics.store import SqlStatisticsStore
from msgspec.structs import replace
from sqlalchemy import event

from bench.population import add_job

HOURS = range(480_000, 480_004)
QUERY = StatsQuery("me", (), HOURS, 1)
MAX_KINDS, MORE = 50, 60
"""How many kinds an answer may name in these tests, and how many there are at first."""
TOTAL = MAX_SUM // 10_000


def add_kinds(database: Database, numbers: range) -> None:
    """Add kinds with jobs, of which something happened in each hour, and a bulk run; fold the first hour."""
    delta = StatisticsDelta()
    delta.add_count(("me", BULK, "QUEUED"), 1, 1, 0)
    for kind in (BULK, *(f"k{n:05}" for n in numbers)):
        delta.add_count(("me", kind, "COMPLETED"), 2, 0, 0)
        delta.add_rollup(("me", HOURS.start, kind, "CREATED", 0), 1, 0)
        for hour in HOURS[1:]:
            delta.add_rollup(("me", hour, kind, "ARTIFACTS", 0), 1, TOTAL)
    with WriteStore(database).transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, delta)
    statistics = SqlStatisticsStore(database)
    while due := statistics.unfolded(HOURS.start + 1):
        statistics.fold(*due)


@contextmanager
def rows_read(database: Database) -> Iterator[list[int]]:
    """Yield a list that gets the number of rows of each statement that is read meanwhile."""
    rows: list[int] = []

    def count(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        other = cursor.connection.cursor()
        other.execute(statement, parameters)
        rows.append(len(other.fetchall()))

    event.listen(database.reader, "before_cursor_execute", count)
    try:
        yield rows
    finally:
        event.remove(database.reader, "before_cursor_execute", count)


def check(figures: Figures, kinds: int) -> None:
    assert figures.omitted_kind_count == kinds - MAX_KINDS
    assert list(figures.kinds) == [f"k{n:05}" for n in range(MAX_KINDS)]
    for one, number in ((figures.total, kinds), (figures.kinds["k00007"], 1)):
        assert one.jobs[JobState.COMPLETED] == 2 * number
        assert one.activity.count(Measure.CREATED) == number
        assert one.activity.total(Measure.ARTIFACTS) == 3 * TOTAL * number
    created = [figures.points[hour].count(Measure.CREATED) for hour in HOURS]
    assert created == [kinds, 0, 0, 0]
    assert figures.points[HOURS[-1]].total(Measure.ARTIFACTS) == TOTAL * kinds


def add_jobs(database: Database, numbers: range) -> None:
    """Add jobs of one kind, as created in the last hour."""
    writes, delta = Writes(), StatisticsDelta()
    for number in numbers:
        new = NewJob(JobSpec("me", f"{number}", "k", b""), [0])
        add_job(writes, replace(create(new, "caller", (HOURS.stop - 1) * HOUR + number).job, revision=1))
        delta.add_count(("me", "k", "QUEUED"), 1, 1, 0)
        delta.add_rollup(("me", HOURS.stop - 1, "k", "CREATED", 0), 1, 0)
    with WriteStore(database).transaction() as transaction:
        transaction.save(writes)
        add_statistics(transaction.connection, database.dialect, delta)


@pytest.mark.guarantee("3b.2")
def test_the_rows_and_statements_of_statistics_do_not_grow_with_the_jobs(database: Database):
    read = []
    for jobs in (1, 300):
        add_jobs(database, range(len(read), jobs))
        with rows_read(database) as rows:
            figures = SqlStatisticsStore(database).figures(QUERY)
        assert figures.total.jobs[JobState.QUEUED] == jobs
        assert figures.total.activity.count(Measure.CREATED) == jobs
        read.append(rows)
    assert read[0] == read[1]


@pytest.mark.guarantee("3b.2")
def test_the_rows_and_statements_of_statistics_do_not_grow_with_the_kinds(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(figures_module, "MAX_KINDS", MAX_KINDS)
    read = []
    for times in (1, 2):
        add_kinds(database, range(MORE * (times - 1), MORE * times))
        with rows_read(database) as rows:
            check(SqlStatisticsStore(database).figures(QUERY), MORE * times)
        read.append(rows)
    assert read[0] == read[1]
    assert max(read[0]) == 3 * (MAX_KINDS + 2), "rollups of three hours: of each kind, of all, and of bulk runs"


def test_a_span_from_the_first_hour_of_all_counts_only_the_hours_that_are_kept(database: Database):
    add_kinds(database, range(3))
    SqlStatisticsStore(database).trim((HOURS.start + 1) * HOUR, 100)
    figures = SqlStatisticsStore(database).figures(StatsQuery("me", (), range(HOURS.stop), 24))
    counts = [figures.total.activity, figures.kinds["k00000"].activity, *figures.points.values()]
    assert [one.count(Measure.CREATED) for one in counts] == [0] * len(counts)
    assert [one.count(Measure.ARTIFACTS) for one in counts] == [9, 3, 9]


def steps(database: Database, work: Callable[[], object]) -> int:
    """Return how many instructions SQLite carries out for some reads."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    def listen(connection: Any, *_: Any) -> None:
        connection.connection.set_progress_handler(count, 1)

    event.listen(database.reader, "begin", listen)
    try:
        work()
    finally:
        event.remove(database.reader, "begin", listen)
    return taken


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # PostgreSQL counts no instructions
def test_what_the_database_does_for_figures_and_vitals_does_not_grow_with_the_kinds(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(figures_module, "MAX_COUNTS", 100)
    reads = [
        lambda: SqlStatisticsStore(database).figures(QUERY),
        lambda: SqlStatisticsStore(database).figures(StatsQuery("me", ("k00007",), HOURS, 1)),
        lambda: VitalsReader(database).read(),
    ]
    taken = []
    for times in (1, 2, 3):
        add_kinds(database, range(200 * (times - 1), 200 * times))
        taken.append([steps(database, read) for read in reads])
    assert all(taken[0])
    assert taken[0] == taken[1] == taken[2]
