"""Whatever is folded into running totals, and whenever, the figures of every span stay the same."""

import random

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import counts
from jobledger_service.core.model.bounds.limits import HOUR, MAX_SUM
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import Activity, Measure, StatisticsDelta
from jobledger_service.features.statistics.rules import StatsQuery
from jobledger_service.features.statistics.running_totals import ROLLUPS_PER_STEP
from jobledger_service.features.statistics.store import SqlStatisticsStore
from jobledger_service.features.statistics.tables import running_totals
from sqlalchemy import select

OWNERS, KINDS, HOURS = ("me", "you"), ("a", "b.c", "z", BULK), range(480_000, 480_060)
Rollup = tuple[str, int, str, str, int]


class Model:
    """The rollups that were written, each hour and kind by itself, beside the store that has them."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self.database = database
        self.statistics, self.writes = SqlStatisticsStore(database), WriteStore(database)
        self.written: list[tuple[Rollup, int, int]] = []
        self.rng = rng

    def write(self, hours: range, rows: int) -> None:
        tally = StatisticsDelta()
        for owner in OWNERS:
            for kind in KINDS:
                tally.add_count((owner, kind, "QUEUED"), 1, 1, 0)
        for _ in range(rows):
            place = (self.rng.choice(OWNERS), self.rng.choice(hours), self.rng.choice(KINDS))
            key = (*place, self.rng.choice(list(Measure)).value, self.rng.choice([-1, 0, 7, 80, 200]))
            count, total = self.rng.randint(1, 9), self.rng.randint(0, 10**12)
            tally.add_rollup(key, count, total)
            self.written.append((key, count, total))
        with self.writes.transaction() as transaction:
            add_statistics(transaction.connection, self.database.dialect, tally)

    def fold(self, before: int, steps: int = 10_000) -> None:
        for _ in range(steps):
            due = self.statistics.unfolded(before)
            if due is None:
                return
            assert due[1] < before
            assert self.statistics.fold(*due) > 0

    def check(self) -> None:
        for _ in range(12):
            start, stop = sorted(self.rng.sample(range(HOURS.start - 3, HOURS.stop + 3), 2))
            kinds = self.rng.choice([(), ("a",), ("a", "z"), ("a", BULK)])
            step, service_jobs = self.rng.choice([0, 1, 24]), self.rng.choice([False, True])
            query = StatsQuery(self.rng.choice(OWNERS), kinds, range(start, stop), step, service_jobs)
            meant = kinds or KINDS if service_jobs else kinds or KINDS[:-1]
            figures = self.statistics.figures(query)
            wanted: dict[object, Activity] = {}
            for (owner, hour, kind, *place), count, total in self.written:
                if owner == query.owner and hour in query.hours and kind in meant:
                    wanted.setdefault(kind, Activity()).put(*place, count, total)
                    if query.step:
                        wanted.setdefault(hour // query.step, Activity()).put(*place, count, total)
            found = {kind: one.activity for kind, one in figures.kinds.items()} | dict(figures.points)
            assert {key: plain(one) for key, one in found.items() if one} == {k: plain(v) for k, v in wanted.items()}


def plain(activity: Activity) -> dict[object, int]:
    counts = {(m, bucket): n for m, buckets in activity.counts.items() for bucket, n in enumerate(buckets) if n}
    return counts | {measure: total for measure, total in activity.totals.items() if total}


@pytest.mark.long  # random lives of jobs
@pytest.mark.parametrize("seed", range(3))
def test_the_figures_do_not_depend_on_what_was_folded(database: Database, seed: int):
    model = Model(database, random.Random(seed))
    model.write(HOURS, 300)
    model.check()
    model.fold(HOURS.start + 30, steps=20)
    model.check()
    model.fold(HOURS.start + 40)
    model.check()
    model.write(HOURS, 100)  # also to hours that were folded: a server whose clock is behind
    model.check()
    model.fold(HOURS.stop)
    model.check()
    assert model.statistics.unfolded(HOURS.stop) is None


def test_more_kinds_than_are_folded_at_once_are_folded_in_steps(database: Database):
    statistics, writes = SqlStatisticsStore(database), WriteStore(database)
    tally = StatisticsDelta()
    for n in range(120):
        tally.add_count(("me", f"k{n}", "COMPLETED"), 1, 0, 0)
        tally.add_rollup(("me", 5, f"k{n}", "CREATED", 0), n + 1, 0)
    with writes.transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, tally)
    assert [statistics.fold("me", 5) for _ in range(8)] == [20] * 6 + [1, 0]
    figures = statistics.figures(StatsQuery("me", (), range(5, 6), 1))
    assert [figures.kinds[f"k{n}"].activity.count(Measure.CREATED) for n in range(120)] == list(range(1, 121))
    assert figures.points[5].count(Measure.CREATED) == sum(range(1, 121))


@pytest.mark.guarantee("3b.2")
def test_kinds_with_many_rollups_are_folded_in_steps_of_bounded_rows(database: Database):
    statistics, writes = SqlStatisticsStore(database), WriteStore(database)
    tally = StatisticsDelta()
    for owner, kinds in (("me", 5), ("you", 1)):
        for n in range(kinds):
            tally.add_count((owner, f"k{n}", "COMPLETED"), 1, 0, 0)
            for bucket in range(400):
                tally.add_rollup((owner, 5, f"k{n}", Measure.COMPLETED.value, bucket), 1, 10)
    with writes.transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, tally)
    steps = [statistics.fold("me", 5) for _ in range(4)]
    assert (sum(steps), steps[-1]) == (6 * 400, 0)
    assert max(steps) <= ROLLUPS_PER_STEP
    figures = statistics.figures(StatsQuery("me", (), range(5, 6), 1))
    assert [figures.kinds[f"k{n}"].activity.count(Measure.COMPLETED) for n in range(5)] == [400] * 5
    assert statistics.unfolded(6) == ("you", 5)


def test_a_sum_stops_before_it_leaves_64_bits(database: Database):
    statistics, writes = SqlStatisticsStore(database), WriteStore(database)
    for total in (MAX_SUM, MAX_SUM, -MAX_SUM, -MAX_SUM, -MAX_SUM):
        tally = StatisticsDelta()
        tally.add_count(("me", "a", "QUEUED"), 1, 0, 0)
        tally.add_rollup(("me", 5, "a", "ARTIFACTS", 0), 1, 3 * total)
        with writes.transaction() as transaction:
            add_statistics(transaction.connection, database.dialect, tally)
    found = statistics.figures(StatsQuery("me", (), range(5, 6))).kinds["a"].activity
    assert (found.count(Measure.ARTIFACTS), found.total(Measure.ARTIFACTS)) == (5, -MAX_SUM)


def test_old_hours_become_one_total_and_the_figures_of_those_kept_stay(database: Database):
    model = Model(database, random.Random(7))
    model.write(HOURS, 300)
    model.fold(HOURS.stop)
    kept = HOURS.start + 40
    while model.statistics.trim(kept * HOUR, 7):
        pass
    with database.read() as connection:
        hours = connection.execute(select(running_totals.c.owner, running_totals.c.kind, running_totals.c.hour)).all()
    bases = [(owner, kind) for owner, kind, hour in hours if hour < kept]
    assert sorted(bases) == sorted((owner, kind) for owner in OWNERS for kind in ("", *KINDS))
    model.written = [one for one in model.written if one[0][1] >= kept]
    model.check()
    model.write(range(kept, HOURS.stop), 50)
    model.fold(HOURS.stop)
    model.check()


def test_a_kind_of_which_nothing_is_left_is_forgotten_and_starts_again(database: Database):
    model = Model(database, random.Random(8))
    model.write(HOURS, 300)
    model.fold(HOURS.stop)
    without_jobs = StatisticsDelta()
    for owner in OWNERS:
        for kind in KINDS[1:]:
            without_jobs.add_count((owner, kind, "QUEUED"), -1, -1, 0)
    without_jobs.add_rollup(("you", HOURS.stop - 1, "z", "CREATED", 0), 1, 0)
    with model.writes.transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, without_jobs)
    while model.statistics.trim((HOURS.stop + 1) * HOUR, 50):
        pass
    for _ in range(3):
        model.statistics.trim(HOUR, 2)
    for table in (counts, running_totals):
        with database.read() as connection:
            kinds = set(connection.execute(select(table.c.owner, table.c.kind)))
        assert {one for one in kinds if all(one)} == {("me", "a"), ("you", "a"), ("you", "z")}, (
            "those with jobs, or with something not folded yet"
        )
    model.written = [(("you", HOURS.stop - 1, "z", "CREATED", 0), 1, 0)]
    model.check()
    model.write(range(HOURS.stop - 2, HOURS.stop), 50)
    model.fold(HOURS.stop)
    model.check()
