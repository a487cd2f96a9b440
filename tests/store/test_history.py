"""What a process has seen of its ledger is compared with what each transaction finds, on a ledger that is exchanged."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.history import Loss
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.tables import ledger, terms
from jobledger_service.core.model.history.terms import Point, Terms
from jobledger_service.core.model.refusals.errors import StoreUnavailable
from sqlalchemy import delete, insert, select, update


class Exchanged:
    """A database that is put back to what it was, as a promoted standby, or an old primary, would be."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.changes: list[Loss | None] = []
        database.history.on_change = lambda _terms, loss: self.changes.append(loss)

    def commit(self, count: int) -> Point:
        """Take positions, and return the last one with its term."""
        with self.database.write() as connection:
            connection.execute(update(ledger).values(position=ledger.c.position + count))
        with self.database.read():
            return self.database.history.newest

    def put_back(self, position: int, time_line: str) -> None:
        """Exchange the database for one that has only this position, and another time line."""
        self.database.dialect.start = f"'{time_line}@start'"
        self.database.history._state = f"SELECT epoch, '{time_line}@start' FROM ledger"  # noqa: S608  a constant
        self.database._beginnings = type(self.database._beginnings)(self.database.dialect)
        with self.database.change_schema() as connection:
            connection.execute(delete(terms).where(terms.c.first_position > position))
            term = connection.execute(
                select(terms.c.term).order_by(terms.c.first_position.desc()).limit(1)
            ).scalar_one()
            connection.execute(update(ledger).values(position=position, term=term, start="before"))


@pytest.fixture
def exchanged(tmp_path: Path) -> Iterator[Exchanged]:
    with closing(open_database(f"sqlite:///{tmp_path / 'jobs.db'}")) as database:
        upgrade(database)
        yield Exchanged(database)


@pytest.mark.guarantee("3d.2")
def test_a_lost_tail_is_noticed_once_and_nothing_of_it_is_included(exchanged: Exchanged):
    kept, lost = exchanged.commit(21), exchanged.commit(30)
    history = exchanged.database.history
    exchanged.put_back(21, "2")
    after = exchanged.commit(35)
    assert [change for change in exchanged.changes if change is not None] == [Loss(21, 30)]
    assert (history.lost_positions, history.is_stale) == (30, False)
    assert [history.includes(point) for point in (kept, after, lost)] == [True, True, False]


@pytest.mark.guarantee("3d.2")
def test_a_start_without_a_loss_begins_a_term_and_keeps_every_point(exchanged: Exchanged):
    points = [exchanged.commit(5)]
    for time_line in ("2", "3"):
        exchanged.put_back(points[-1].position, time_line)
        points.append(exchanged.commit(5))
    history = exchanged.database.history
    assert len({point.term for point in points}) == 3
    assert all(map(history.includes, points))
    assert set(exchanged.changes) == {None}


def test_a_term_without_a_commit_is_replaced(exchanged: Exchanged):
    end = exchanged.commit(5).position
    for time_line in ("2", "3"):
        exchanged.put_back(end, time_line)
        with exchanged.database.write():
            pass
    with exchanged.database.read() as connection:
        firsts = connection.execute(select(terms.c.first_position).order_by(terms.c.first_position)).scalars().all()
    assert firsts == [0, 1, end + 1]


@pytest.mark.guarantee("3d.3")
@pytest.mark.parametrize("position", [21, 51, 90])
def test_an_older_time_line_is_neither_read_nor_written_until_the_newer_one_is_back(
    exchanged: Exchanged, position: int
):
    exchanged.put_back(0, "2")
    seen = exchanged.commit(51)
    exchanged.put_back(0, "1")
    database = exchanged.database
    with database.change_schema() as connection:
        connection.execute(update(ledger).values(position=position))
    with pytest.raises(StoreUnavailable), database.write():
        raise AssertionError("it must not be written to")
    with pytest.raises(StoreUnavailable), database.read():
        raise AssertionError("it must not be read from")
    assert database.history.is_stale
    exchanged.put_back(0, "2")
    with database.change_schema() as connection:
        connection.execute(insert(terms).values(first_position=1, term=seen.term))
        connection.execute(update(ledger).values(position=seen.position, term=seen.term))
    assert exchanged.commit(1).position == seen.position + 1
    assert not database.history.is_stale
    assert [change for change in exchanged.changes if change is not None] == []


def test_a_database_of_another_epoch_is_not_used(exchanged: Exchanged):
    exchanged.commit(5)
    with exchanged.database.change_schema() as connection:
        connection.execute(update(ledger).values(epoch="another", position=1))
    with pytest.raises(StoreUnavailable), exchanged.database.read():
        raise AssertionError("its tokens are signed with another secret")


def test_terms_are_known_from_the_first_one_that_is_left():
    assert Terms([(9, 5)]).point(3) == Point(3, 0)
