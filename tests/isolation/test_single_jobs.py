"""A read of single jobs is small, whatever jobs callers ask for: the large ones wait for their owner's turn alone."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from jobledger_service.core.database.engines import OWNER_THREADS
from jobledger_service.core.database.rows.reads import JobRead, Listing, View
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import job_key, owner_of
from jobledger_service.core.read.job_reads import MAX_CHUNKS_AT_ONCE, MAX_SMALL_CHUNKS, SMALL
from jobledger_service.core.read.loader import Loader
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers

from tests.isolation.large_jobs import ALICE, BOB, LargeLedger
from tests.support.bounds import BOUND


@pytest.fixture
def queries(ledger: LargeLedger) -> Iterator[Queries]:
    with closing(Readers()) as readers:
        yield Queries(ledger.reads, readers)


class Sets:
    """Reads whose sets of keys are noted; each returns its key."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    async def fetch(self, keys: Sequence[str]) -> Callable[[str], str]:
        self.read.append(list(keys))
        return lambda key: key


@pytest.mark.guarantee("3b.3")
async def test_keys_of_different_owners_go_into_a_read_in_turn():
    sets = Sets()
    loader = Loader(sets.fetch, limit=3, owner_of=owner_of)
    requested = [f"alice/{n}" for n in range(5)] + ["bob/0", "bob/1", "carol/0"]
    assert await asyncio.gather(*map(loader.load, requested)) == requested
    assert sets.read == [["alice/0", "bob/0", "carol/0"], ["alice/1", "bob/1", "alice/2"], ["alice/3", "alice/4"]]


async def test_a_key_whose_value_cannot_be_made_fails_alone():
    async def fetch(_: Sequence[str]) -> Callable[[str], str]:
        return {"good": "value"}.__getitem__

    loader = Loader(fetch)
    outcomes = await asyncio.gather(*map(loader.load, ("bad", "good")), return_exceptions=True)
    assert (type(outcomes[0]), outcomes[1]) == (KeyError, "value")
    assert await loader.load("good") == "value"


async def test_a_key_whose_callers_have_left_is_not_read():
    sets = Sets()
    loader = Loader(sets.fetch, owner_of=owner_of)
    left, stays = (asyncio.create_task(loader.load(key)) for key in ("alice/left", "alice/stays"))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == "alice/stays"
    assert sets.read == [["alice/stays"]]


@pytest.mark.guarantee("3b.2")
def test_a_read_of_single_jobs_has_few_chunks_and_leaves_large_jobs_out(ledger: LargeLedger):
    ledger.create("large", [1] * (MAX_SMALL_CHUNKS + 1))
    for n in range(7):
        ledger.create(f"small-{n}", [1] * MAX_SMALL_CHUNKS)
    ledger.create("bystander", [1] * 5, BOB)
    keys = [job_key(ALICE, "large"), job_key(BOB, "bystander"), *(job_key(ALICE, f"small-{n}") for n in range(7))]
    read = ledger.reads.read_jobs(keys, View.FULL, SMALL)
    assert sum(len(one.chunks) for one in read.jobs.values()) <= MAX_CHUNKS_AT_ONCE
    assert list(read.jobs) == [job_key(BOB, "bystander"), *(job_key(ALICE, f"small-{n}") for n in range(4))]
    assert read.unread == [job_key(ALICE, f"small-{n}") for n in range(4, 7)]
    assert set(ledger.reads.read_jobs(keys, View.BASIC, SMALL).jobs) == set(keys)
    shown = [len(one.chunks) for one in read.jobs.values()]
    assert shown == [one.chunk_count for one in read.jobs.values()]


async def test_small_jobs_that_a_read_has_no_room_for_are_in_the_next(ledger: LargeLedger, queries: Queries):
    names = [f"small-{n}" for n in range(12)]
    for name in names:
        ledger.create(name, [1] * MAX_SMALL_CHUNKS)
    got = await asyncio.gather(*(queries.job(ALICE, name, lambda read: read, View.FULL) for name in names))
    assert [(one.job_id, len(one.chunks)) for one in got] == [(name, MAX_SMALL_CHUNKS) for name in names]


async def test_a_small_job_is_shown_once_to_equal_calls_that_wait_together(ledger: LargeLedger, queries: Queries):
    ledger.create("small", [1] * 3)
    shown: list[str] = []

    def show(read: JobRead) -> int:
        shown.append(read.job_id)
        return len(read.chunks)

    calls = (queries.job(ALICE, "small", show, View.FULL, call_key="equal") for _ in range(20))
    others = (queries.job(ALICE, "small", show, View.FULL) for _ in range(3))
    assert await asyncio.gather(*calls, *others) == [3] * 23
    assert shown == ["small"] * 4


def thread_name(_: JobRead | None, __: int) -> str:
    return threading.current_thread().name


async def test_a_large_job_is_shown_on_a_thread_of_its_owners_turn(ledger: LargeLedger, queries: Queries):
    ledger.create("large", [1] * (MAX_SMALL_CHUNKS + 1))
    ledger.create("small", [1] * MAX_SMALL_CHUNKS)
    here = threading.current_thread().name
    assert await queries.show_job(job_key(ALICE, "small"), thread_name, View.FULL) == here
    assert await queries.show_job(job_key(ALICE, "large"), thread_name, View.BASIC) == here
    assert (await queries.show_job(job_key(ALICE, "large"), thread_name, View.FULL)).startswith("owners")
    assert (await queries.show_job(job_key(ALICE, "nothing"), thread_name, View.FULL)).startswith("owners")


@pytest.mark.guarantee("3b.3")
async def test_large_reads_that_do_not_end_delay_no_other_owner(ledger: LargeLedger, queries: Queries):
    for owner in (ALICE, BOB):
        ledger.create("large", [1] * (MAX_SMALL_CHUNKS + 1), owner)
        ledger.create("small", [1] * 5, owner)
    end = threading.Event()

    def held(read: JobRead | None, _: int) -> int:
        assert end.wait(BOUND)
        return len(read.chunks) if read else 0

    def counted(read: JobRead | None, _: int) -> int:
        return len(read.chunks) if read else 0

    large = [asyncio.create_task(queries.show_job(job_key(ALICE, "large"), held, View.FULL)) for _ in range(10)]
    try:
        async with asyncio.timeout(BOUND):
            for name, chunks in (("small", 5), ("large", MAX_SMALL_CHUNKS + 1)):
                assert await queries.show_job(job_key(BOB, name), counted, View.FULL) == chunks
            # Small jobs of the one whose large ones do not end wait for nobody either.
            assert await queries.show_job(job_key(ALICE, "small"), counted, View.FULL) == 5
        assert not any(one.done() for one in large)
    finally:
        end.set()
    assert await asyncio.gather(*large) == [MAX_SMALL_CHUNKS + 1] * 10
    assert len(large) > OWNER_THREADS


@pytest.mark.parametrize("read", ["ListJobs", "BatchGetJobs", "ListChunks"])
async def test_a_reply_of_many_is_made_on_the_thread_that_read_it(ledger: LargeLedger, queries: Queries, read: str):
    ledger.create("job", [1] * 3)

    def thread(_: object) -> str:
        return threading.current_thread().name

    match read:
        case "ListJobs":
            name = await queries.list_jobs(Listing(JobFilter(ALICE)), "", thread)
        case "BatchGetJobs":
            name = await queries.jobs(ALICE, ["job"], thread, View.FULL)
        case _:
            name = await queries.list_chunks(ALICE, "job", frozenset(), 10, "", thread)
    assert name.startswith("owners")
