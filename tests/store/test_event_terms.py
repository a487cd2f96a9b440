"""The index of terms: any walk finds what a look at all events would, and what is forgotten leaves no row."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from jobledger_service.core.model.change import ChangeType
from jobledger_service.core.store import indexed_events
from jobledger_service.core.store.engines import Database, open_database
from jobledger_service.core.store.event_pages import EventsWanted
from jobledger_service.core.store.event_terms import INDEXED, EventTerms, forget_terms, name_of, term_rows
from jobledger_service.core.store.indexed_events import TermWalk
from jobledger_service.core.store.migrate import upgrade
from jobledger_service.core.store.row_sets import RowSets
from jobledger_service.core.store.tables import event_terms
from sqlalchemy import func, select

from tests.support.databases import new_database

OWNERS, KINDS, ACTORS = ("me", "you"), ("k", "l"), ("worker", "nightly/1", "nightly/2")
TYPES = (ChangeType.CREATED, ChangeType.CANCEL_REQUESTED, ChangeType.CLAIMED)


@pytest.fixture
def database(store: str, tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(new_database(store, tmp_path))) as database:
        upgrade(database)
        yield database


def some_events(random: Random) -> list[EventTerms]:
    """Return events at positions with gaps, some with several changes."""
    return [
        EventTerms(
            position, random.choice(OWNERS), random.choice(KINDS),
            [(random.choice(TYPES), random.choice(ACTORS)) for _ in range(random.choice((1, 1, 3)))],
        )
        for position in sorted(random.sample(range(1, 1_500), 400))
    ]  # fmt: skip


def matches(event: EventTerms, wanted: EventsWanted) -> bool:
    by = [
        change for change, actor in event.changes if not wanted.actors or {actor, name_of(actor)} & set(wanted.actors)
    ]
    return (
        wanted.owner in (None, event.owner)
        and (not wanted.kinds or event.kind in wanted.kinds)
        and bool(wanted.changes & set(by))
    )


@pytest.mark.parametrize("max_rows", [60, 20_000])
def test_pages_of_a_walk_are_all_events_that_match_in_order(
    database: Database, max_rows: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(indexed_events, "MAX_ROWS", max_rows)
    random, walk = Random(7), TermWalk(database.dialect)
    events = some_events(random)
    with database.write() as connection:
        for n in range(0, 400, 7):  # as commits do, which share blocks
            RowSets(database.dialect).add(connection, event_terms, term_rows(events[n : n + 7]))
    for _ in range(60):
        wanted = EventsWanted(
            owner=random.choice((*OWNERS, None)), newest_first=random.random() < 0.5,
            changes=frozenset(random.sample(sorted(INDEXED & {*TYPES}), random.choice((1, 2)))),
            actors=random.sample((*ACTORS, "nightly/", "nobody"), random.choice((0, 1, 3))),
            kinds=random.sample((*KINDS, "none"), random.choice((0, 1, 2))),
        )  # fmt: skip
        begin, end, limit = random.randrange(500), random.randrange(600, 2_000), random.choice((1, 5, 100))
        expected = [one.position for one in events if begin < one.position <= end and matches(one, wanted)]
        found: list[int] = []
        last: int | None = 0
        with database.read() as connection:
            while last is not None:
                page, last = walk.positions(
                    connection, wanted.terms(), begin, end, limit, newest_first=wanted.newest_first
                )
                assert len(page) <= limit
                assert page or last is None or len(found) == len(expected), "an empty page while there are more"
                assert len(page) == limit or last is None or max_rows == 60 or len(found + page) == len(expected)
                found += page
                if last is not None:
                    begin, end = (begin, last - 1) if wanted.newest_first else (last, end)
        assert found == (expected[::-1] if wanted.newest_first else expected)


def test_what_is_forgotten_leaves_no_row_and_nothing_else_goes(database: Database):
    row_sets, events = RowSets(database.dialect), some_events(Random(3))
    kept, forgotten = events[::2], events[1::2]

    def rows() -> list[tuple[str, int, int]]:
        with database.read() as connection:
            return sorted(tuple(row) for row in connection.execute(select(event_terms)))

    with database.write() as connection:
        row_sets.add(connection, event_terms, term_rows(kept))
    before = rows()
    with database.write() as connection:
        row_sets.add(connection, event_terms, term_rows(forgotten))
    with database.write() as connection:
        forget_terms(connection, row_sets, forgotten)
    assert rows() == before
    with database.write() as connection:
        forget_terms(connection, row_sets, kept)
        assert connection.execute(select(func.count()).select_from(event_terms)).scalar() == 0
