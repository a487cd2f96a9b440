"""Equal reads of an owner that wait together are one; each caller gets what was read after it asked."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from jobledger.v1.job_service_pb2 import BatchGetJobsRequest, ListJobsRequest
from jobledger_service.core.model.refusals.limit_errors import TooManyReads
from jobledger_service.core.read.readers import MAX_SHARING, SharedReaders

from tests.support.api import Api
from tests.support.bounds import BOUND, within

THREADS = 3  # two of which a single owner can have


class Reads:
    """Reads that return how many there were; the first ends when it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)

    def __call__(self) -> int:
        if (number := next(self._numbers)) == 1:
            self._loop.call_soon_threadsafe(self.begun.set)
            assert self.gate.wait(BOUND)
        return number


@pytest.fixture
def readers() -> Iterator[SharedReaders]:
    with closing(SharedReaders("reads", THREADS, limit=200)) as opened:
        yield opened


def asks(readers: SharedReaders, read: Reads, number: int, owner: str = "alice") -> list["asyncio.Task[int]"]:
    return [asyncio.create_task(readers.run_shared(owner, "same", read)) for _ in range(number)]


@pytest.mark.guarantee("3e.3")
async def test_who_comes_during_a_read_gets_the_next_one_with_all_who_came_meanwhile(readers: SharedReaders):
    read = Reads()
    first = asks(readers, read, 1)
    await read.begun.wait()
    later = asks(readers, read, 5)
    others = Reads()
    others.gate.set()
    assert await within(readers.run_shared("alice", "another", others)) == 1  # it waits for no other
    assert not any(one.done() for one in (*first, *later))
    read.gate.set()
    assert (await asyncio.gather(*first), await asyncio.gather(*later)) == ([1], [2] * 5)


async def test_equal_reads_of_two_owners_are_two(readers: SharedReaders):
    read = Reads()
    read.gate.set()
    assert sorted(await asyncio.gather(*asks(readers, read, 1), *asks(readers, read, 1, "bob"))) == [1, 2]


async def test_a_read_has_so_many_callers_and_no_more(readers: SharedReaders):
    read = Reads()
    first = asks(readers, read, 1)
    await read.begun.wait()
    later = asks(readers, read, MAX_SHARING + 2)
    await asyncio.sleep(0)
    read.gate.set()
    await asyncio.gather(*first)
    assert await asyncio.gather(*later) == [2] * MAX_SHARING + [3] * 2


async def test_who_leaves_takes_the_read_from_nobody_and_a_read_for_nobody_is_left_out():
    readers = SharedReaders("reads", 1)
    read = Reads()
    first = asks(readers, read, 1)
    await read.begun.wait()
    leaves, stays = asks(readers, read, 2)
    gone = [asyncio.create_task(readers.run_shared("alice", "gone", read)) for _ in range(2)]
    await asyncio.sleep(0)
    for one in (leaves, *gone):
        one.cancel()
    read.gate.set()
    assert (await asyncio.gather(*first), await stays) == ([1], 2)
    assert await readers.run_shared("alice", "same", read) == 3
    readers.close()


async def test_each_caller_counts_among_those_who_wait(readers: SharedReaders):
    read = Reads()
    first = asks(readers, read, 1)
    await read.begun.wait()
    later = asks(readers, read, 200)
    await asyncio.sleep(0)
    with pytest.raises(TooManyReads):
        await readers.run_shared("alice", "same", read)
    read.gate.set()
    await asyncio.gather(*first, *later)


async def test_a_read_that_fails_fails_for_its_callers_and_the_next_one_does_not(readers: SharedReaders):
    read = Reads()

    def fail() -> int:
        read()
        raise ValueError("damaged")

    first = [asyncio.create_task(readers.run_shared("alice", "same", fail)) for _ in range(1)]
    await read.begun.wait()
    later = asks(readers, read, 2)
    await asyncio.sleep(0)
    read.gate.set()
    with pytest.raises(ValueError, match="damaged"):
        await first[0]
    assert await asyncio.gather(*later) == [2, 2]


@pytest.mark.guarantee("3e.3")
async def test_equal_lists_in_flight_each_show_what_their_caller_has_written(api: Api, kind: str):
    job_ids = [(await api.create(kind)).job_id for _ in range(8)]
    lists = ListJobsRequest(filter={"kinds": [kind]})
    batch = BatchGetJobsRequest(job_ids=job_ids)

    async def write_and_read(job_id: str) -> None:
        for number in range(12):
            change = {"job_id": job_id, "display_name": f"{number}", "update_mask": {"paths": ["display_name"]}}
            await api.update(**change)
            for page in await asyncio.gather(api.jobs.ListJobs(lists), api.jobs.BatchGetJobs(batch)):
                assert [job.display_name for job in page.jobs if job.job_id == job_id] == [f"{number}"]
                assert len(page.jobs) == len(job_ids)

    await asyncio.gather(*map(write_and_read, job_ids))
