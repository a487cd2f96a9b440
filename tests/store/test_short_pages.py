"""A page is full unless what one call may read has passed without enough matches; nothing is left out then."""

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.reads import Listing, Order
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.read.listing import Budget
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.writing import WriteStore
from msgspec.structs import replace

from bench.population import add_job

JOBS = 400
MATCHING = [*range(0, 100, 5), *range(300, JOBS, 5)]
"""Jobs by their time of creation; a long way without one is between."""
LIMIT, READ = 4, 50


def fill(database: Database) -> None:
    """Write jobs of which some have the label."""
    writes = Writes()
    for number in range(JOBS):
        labels = {"user": "grace"} if number in MATCHING else {"user": "edsger"}
        new = NewJob(JobSpec("me", f"{number}", "k", b""), [0], labels=labels)
        add_job(writes, replace(create(new, "caller", number).job, revision=1))
    with WriteStore(database).transaction() as transaction:
        transaction.save(writes)


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize("ascending", [True, False])
def test_a_page_is_full_unless_it_has_read_all_that_a_call_may_read(database: Database, ascending: bool):
    fill(database)
    reads = ReadStore(database, Budget(first=0, then=READ, few=0))
    listing = Listing(JobFilter("me", labels={"user": "grace"}), Order.CREATE_TIME, ascending=ascending, limit=LIMIT)
    found, short, place = [list[int]()], 0, -1 if ascending else JOBS
    while True:
        page = reads.list_jobs(listing)
        found.append([int(job.key.rpartition("/")[2]) for job in page.jobs])
        if page.next is None:
            break
        passed = abs(page.next.value - place)
        assert len(page.jobs) == LIMIT or passed >= READ
        short += len(page.jobs) < LIMIT
        place, listing = page.next.value, replace(listing, after=page.next)
    numbers = [number for some in found for number in some]
    assert numbers == (MATCHING if ascending else MATCHING[::-1])
    # The full page before the long way passes a part of it.
    assert 200 // (READ + 10 * (LIMIT + 1)) - 1 <= short <= 200 // READ, "on the long way, and nowhere else"
