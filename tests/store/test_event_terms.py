"""The index of terms: any walk finds what a look at all events would, and what is forgotten leaves no row."""

from random import Random

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.maintenance import term_recount
from jobledger_service.core.database.maintenance.term_recount import TermRecount
from jobledger_service.core.database.rows.event_terms import INDEXED, EventTerms, forget_terms, name_of, term, term_rows
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import audit, event_terms, ledger
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.read import indexed_events
from jobledger_service.core.read.event_pages import EventsWanted
from jobledger_service.core.read.indexed_events import TermWalk
from sqlalchemy import delete, func, select, update

OWNERS, KINDS, ACTORS = ("me", "you"), ("k", "l"), ("worker", "nightly/1", "nightly/2")
TYPES = (ChangeType.CREATED, ChangeType.CANCEL_REQUESTED, ChangeType.CLAIMED)


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


@pytest.mark.guarantee("3e.2")
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
        expected = [event.position for event in events if begin < event.position <= end and matches(event, wanted)]
        positions: list[int] = []
        last: int | None = 0
        with database.read() as connection:
            while last is not None:
                page, last = walk.positions(
                    connection, wanted.terms(), begin, end, limit, newest_first=wanted.newest_first
                )
                assert len(page) <= limit
                assert page or last is None or len(positions) == len(expected), "an empty page while there are more"
                assert len(page) == limit or last is None or max_rows == 60 or len(positions + page) == len(expected)
                positions += page
                if last is not None:
                    begin, end = (begin, last - 1) if wanted.newest_first else (last, end)
        assert positions == (expected[::-1] if wanted.newest_first else expected)


def rows(database: Database) -> list[tuple[str, int, int]]:
    with database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(event_terms)))


@pytest.mark.guarantee("3e.2")
def test_what_is_forgotten_leaves_no_row_and_nothing_else_goes(database: Database):
    row_sets, events = RowSets(database.dialect), some_events(Random(3))
    kept, forgotten = events[::2], events[1::2]
    with database.write() as connection:
        row_sets.add(connection, event_terms, term_rows(kept))
    before = rows(database)
    with database.write() as connection:
        row_sets.add(connection, event_terms, term_rows(forgotten))
    with database.write() as connection:
        forget_terms(connection, row_sets, forgotten)
    with database.write() as connection:
        forget_terms(connection, row_sets, [*forgotten, EventTerms(900, "nobody", "k", [(TYPES[0], "worker")])])
    assert rows(database) == before, "bits that are not set change nothing"
    with database.write() as connection:
        forget_terms(connection, row_sets, kept)
        assert connection.execute(select(func.count()).select_from(event_terms)).scalar() == 0


@pytest.mark.guarantee("3d.11")
def test_bits_that_point_at_nothing_end_no_walk_and_a_recount_makes_all_right(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(term_recount, "ROWS_PER_PART", 1_000)
    row_sets, random = RowSets(database.dialect), Random(5)
    of_position = {event.position: event for event in some_events(random)}
    newest = max(of_position)
    with database.write() as connection:
        row_sets.add(connection, event_terms, term_rows(of_position.values()))
        constant = {"job_key": "me/j", "commit_time": 0, "changes": 1, "message": b""}
        row_sets.insert(connection, audit, [{"position": position, **constant} for position in of_position])
        connection.execute(update(ledger).values(position=newest))
    meant = rows(database)

    def recount() -> int:
        recount = TermRecount(database.dialect, lambda position, _: of_position[position])
        with database.write() as connection:
            parts = recount.parts(connection)
            assert len(parts) > 1
            return sum(recount.correct(connection, part) for part in parts)

    assert recount() == 0
    every = term("me", TYPES[0], None, None)
    with database.write() as connection:
        for spoilt_term, block, bits in random.sample([row for row in meant if row[0] != every], 300):
            of_row = event_terms.c.term == spoilt_term, event_terms.c.block == block
            spoilt = random.choice([None, -bits, -(2**63), 2**63 - 1, bits ^ 5])
            spoil = delete(event_terms) if spoilt is None else update(event_terms).values(bits=spoilt)
            connection.execute(spoil.where(*of_row))
        row_sets.insert(connection, event_terms, [{"term": "nobody", "block": block, "bits": 1} for block in range(9)])
        connection.execute(update(event_terms).where(event_terms.c.term == every).values(bits=-1))
    with database.read() as connection:
        page, last = TermWalk(database.dialect).positions(connection, [every], 0, newest, 2_000, newest_first=True)
    created = EventsWanted(owner="me", changes=frozenset(TYPES[:1]))
    assert last is None
    assert {position for position, event in of_position.items() if matches(event, created)} <= {*page}
    assert recount() > 300
    assert rows(database) == meant
    assert recount() == 0
