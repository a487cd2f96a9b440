"""Words that are together in many jobs: the list is walked on, and full text is not asked for the page."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.reads import Listing
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.read.listing import Budget
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.writing import WriteStore
from msgspec.structs import replace
from sqlalchemy import event

from bench.population import add_job
from tests.support.databases import new_database

JOBS = 2_500
COMMON = JobFilter("me", search=("red", "film"))
"""Each word in one job of ten, both together in one of a hundred: the first look, at 710 rows, finds seven jobs."""
TOGETHER = [f"me/{number}" for number in range(0, JOBS, 100)][::-1]


@pytest.fixture(scope="module")
def filled(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Return a database with jobs, a part of which has one word or both."""
    with closing(open_database(new_database(store, tmp_path_factory.mktemp("words")))) as database:
        upgrade(database)
        fill(database)
        yield database


def fill(database: Database) -> None:
    writes = Writes()
    for number in range(JOBS):
        words = [word for word, place in (("red", 0), ("film", number // 10 % 10)) if number % 10 == place]
        new = NewJob(JobSpec("me", f"{number}", "k", b""), [0], display_name=" ".join(words))
        add_job(writes, replace(create(new, "caller", number).job, revision=1))
    with WriteStore(database).transaction() as transaction:
        transaction.save(writes)


@contextmanager
def searches(database: Database) -> Iterator[list[str]]:
    """Collect the statements that ask full text."""
    found: list[str] = []

    def heard(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "MATCH" in statement or "@@" in statement:
            found.append(statement)

    event.listen(database.reader, "before_cursor_execute", heard)
    yield found
    event.remove(database.reader, "before_cursor_execute", heard)


def test_words_that_are_often_together_are_found_by_walking_the_list(filled: Database):
    with searches(filled) as found:
        page = ReadStore(filled).list_jobs(Listing(COMMON, limit=20))
        assert not found
        few = ReadStore(filled, Budget(likely=1_000)).list_jobs(Listing(COMMON, limit=20))
        assert found, "so many rows would not be likely to fill the page"
    assert page.keys == few.keys == TOGETHER[:20]
    assert page.next is not None
    rest = ReadStore(filled).list_jobs(Listing(COMMON, limit=20, after=page.next))
    assert rest.keys == TOGETHER[20:]
    assert rest.next is None


def test_jobs_that_are_only_counted_take_few_rows_or_full_text(filled: Database):
    reads = ReadStore(filled, Budget(count=100))
    page = reads.list_jobs(Listing(COMMON, limit=20, count_to=1_000))
    assert page.keys == TOGETHER[:20]
    if filled.single_writer:  # full text counts on
        assert (page.count, page.more) == (len(TOGETHER), False)
        up_to = reads.list_jobs(Listing(COMMON, limit=20, count_to=22))
        assert (up_to.count, up_to.more) == (22, True)
    else:
        assert 20 < page.count < len(TOGETHER)
        assert page.more
    beside = replace(COMMON, min_priority=1)  # full text does not know that
    walked = reads.list_jobs(Listing(beside, limit=20, count_to=1_000))
    assert walked.keys == TOGETHER[:20]
    assert 20 < walked.count < len(TOGETHER)
    assert walked.more
    assert ReadStore(filled).list_jobs(Listing(beside, limit=20, count_to=1_000)).count == len(TOGETHER)
