"""A page of an export, where history was trimmed, and what an export keeps in memory."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from jobledger.v1.export_pb2 import ExportJobsResponse
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import Inputs, JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import HistoryTrimmed
from jobledger_service.core.model.updates import JobUpdate
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.watch.live_feed import LiveFeed
from jobledger_service.core.write.batch import Executor
from jobledger_service.core.write.commands import CreateJob, DeleteJob, UpdateJob
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.exports.api import Exports, job_of
from jobledger_service.features.exports.lines import EXPORT_COLUMNS, JsonLines
from jobledger_service.features.exports.store import BEGIN, MAX_PAGE_BYTES, ExportPage, SqlExportStore
from jobledger_service.features.retention.store import SqlHistoryStore
from msgspec.structs import replace

from tests.support.databases import new_database
from tests.support.families import all_families

pytestmark = pytest.mark.long  # many jobs are exported

EVERYTHING = JobFilter("default")
SECOND = 1_000_000
JOBS = 9_000


class Ledger:
    """A database that is written to without a server, by a clock that ticks once a batch."""

    def __init__(self, url: str, quiet: int) -> None:
        self.database = open_database(url)
        upgrade(self.database)
        self.reads = ReadStore(self.database)
        self.exports = SqlExportStore(self.database)
        self.clock = count(SECOND, SECOND)
        self._executor = Executor(
            WriteStore(self.database),
            ProtoCodec(),
            lambda: next(self.clock),
            Cursors(self.reads.epoch.id, lambda: self.reads.history.terms),
            all_families(self.database),
            quiet,
        )

    def create(self, *job_ids: str, name: str = "") -> None:
        self.run(*(CreateJob(new(job_id, name), "caller", inputs=Inputs()) for job_id in job_ids))

    def update(self, job_id: str, name: str) -> None:
        self.run(UpdateJob("default", job_id, JobUpdate(frozenset({"display_name"}), display_name=name), "caller"))

    def delete(self, job_id: str) -> None:
        self.run(DeleteJob("default", job_id, "caller", force=True))

    def run(self, *commands: CreateJob | UpdateJob | DeleteJob) -> None:
        outcomes, _ = self._executor.run(commands)
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    def forget_all(self) -> None:
        upkeep = SqlHistoryStore(self.database, ProtoCodec().audited, ProtoCodec().terms)
        while upkeep.trim_events(next(self.clock), 1_000):
            pass

    def page(self, position: int) -> list[str]:
        """Return the names that an export of everything shows at a position."""
        page: ExportPage = self.exports.export_page(EVERYTHING, position, BEGIN, 100)
        assert page.through is None
        shown = []
        for one in page.shown:
            job = job_of(one)
            if job is not None and job.create_time.ToMicroseconds() == one.place.create_time:
                shown.append(job.display_name)
        return shown


def new(job_id: str, name: str) -> NewJob:
    return NewJob(JobSpec("default", job_id, "k", b""), [0], display_name=name)


@pytest.fixture
def open_ledger(store: str, tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    opened: list[Ledger] = []

    def open_(quiet: int) -> Ledger:
        opened.append(Ledger(new_database(store, tmp_path), quiet))
        return opened[-1]

    yield open_
    for ledger in opened:
        ledger.database.close()


def test_jobs_whose_events_were_forgotten_are_shown_as_they_were(open_ledger: Callable[..., Ledger]):
    """A job that rests for longer than history is kept, and changes during an export."""
    ledger = open_ledger(quiet=0)
    for job_id in ("rests", "changes", "goes", "comes again"):
        ledger.create(job_id, name=job_id)
    ledger.forget_all()
    position = ledger.reads.position()
    ledger.update("changes", "changed")
    ledger.update("changes", "changed again")
    ledger.delete("goes")
    ledger.delete("comes again")
    ledger.create("comes again", "new", name="other")
    assert ledger.page(position) == ["rests", "changes", "goes", "comes again"]
    assert ledger.page(ledger.reads.position()) == ["rests", "changed again", "other", "other"]


def test_what_was_not_kept_is_refused_and_never_guessed(open_ledger: Callable[..., Ledger]):
    ledger = open_ledger(quiet=1_000 * SECOND)
    ledger.create("rests", "changes", name="first")
    ledger.forget_all()
    position = ledger.reads.position()
    ledger.create("new", name="new")
    assert ledger.page(position) == ["first", "first"]
    ledger.update("changes", "changed")
    with pytest.raises(HistoryTrimmed):
        ledger.page(position)
    assert sorted(ledger.page(ledger.reads.position())) == ["changed", "first", "new"]


@contextmanager
def traced() -> Iterator[None]:
    """Trace allocations, so that the most memory that was held can be told."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def test_the_memory_of_an_export_does_not_grow_with_its_jobs(open_ledger: Callable[..., Ledger]):
    ledger = open_ledger(quiet=SECOND * 1_000)
    for begin in range(0, JOBS, 500):
        ledger.create(*(f"job-{number}" for number in range(begin, begin + 500)), name="n" * 1_000)
    readers = Readers()
    feed = LiveFeed(ledger.reads, readers, ProtoCodec(), list[Entry]().append, sole_writer=True)
    queries = Queries(ledger.reads, readers)
    cursors = Cursors(ledger.reads.epoch.id, lambda: feed.terms)
    exports = Exports(ledger.exports, queries.tokens, cursors, UnreadableRows(), feed)
    rows = taken = 0
    limits = []
    with traced():
        async with aclosing(exports.open(EVERYTHING, JsonLines(EXPORT_COLUMNS, ()), "")) as pages:
            async for pieces in pages:
                taken += sum(len(ExportJobsResponse.FromString(piece).data) for piece in pieces)
                rows = ExportJobsResponse.FromString(pieces[-1]).row_count
                if rows >= JOBS * (len(limits) + 1) // 3:
                    gc.collect()
                    limits.append(tracemalloc.get_traced_memory()[1])
                    tracemalloc.reset_peak()
    await exports.close()
    assert rows == JOBS
    assert taken > JOBS * 1_500
    first, *later = limits
    assert max(later) < first + 1_000_000, f"{limits} bytes at most in each third of {taken:,} bytes of jobs"


@pytest.mark.guarantee("3b.2")
def test_a_page_of_large_jobs_ends_early(open_ledger: Callable[..., Ledger]):
    ledger = open_ledger(quiet=0)
    labels = {f"label-{number:02}": "x" * 255 for number in range(64)}
    for begin in range(0, 200, 50):
        jobs = (replace(new(f"job-{n:03}", "n"), labels=labels) for n in range(begin, begin + 50))
        ledger.run(*(CreateJob(job, "caller", inputs=Inputs()) for job in jobs))
    after, sizes = BEGIN, []
    while after is not None:
        page = ledger.exports.export_page(EVERYTHING, ledger.reads.position(), after, 1_000)
        sizes.append(len(page.shown))
        after = page.through
    assert sum(sizes) == 200
    assert max(sizes) <= MAX_PAGE_BYTES // (64 * 255) + 1


def test_pages_follow_each_other_by_place(open_ledger: Callable[..., Ledger]):
    ledger = open_ledger(quiet=0)
    ledger.create("a", "b", "c", name="x")  # created together: by key
    ledger.create("0", name="x")
    position = ledger.reads.position()
    ledger.delete("b")
    after, found = BEGIN, []
    while after is not None:
        page = ledger.exports.export_page(EVERYTHING, position, after, 1)
        found += [one.place.job_key for one in page.shown]
        after = page.through
    assert found == [f"default/{job_id}" for job_id in ("a", "b", "c", "0")]
