"""Every answer fits into what a client takes by default, names what it has no room for, and reads no more than that."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psycopg
import pytest
from google.protobuf.message import Message
from grpc.aio import AioRpcError
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import (
    BatchGetJobsRequest,
    EventOrder,
    GetJobRequest,
    ListChunksRequest,
    ListEventsRequest,
    ListJobsRequest,
)
from jobledger.v1.worker_service_pb2 import ClaimChunksRequest, ClaimedChunk, HeartbeatRequest, LeaseReport
from jobledger_client import AsyncJobClient, JobView
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.backup import back_up
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES
from jobledger_service.core.model.job import job_key
from jobledger_service.core.read.reading import ReadStore
from sqlalchemy import event

from tests.support.bounds import BOUND
from tests.support.keys import KeyedApi
from tests.support.states import OK
from tests.support.tenants import Shared, shared_server

if TYPE_CHECKING:
    from jobledger.v1.job_pb2 import Job

pytestmark = pytest.mark.long  # many megabytes are written first

FULL, BASIC = JobView.FULL, JobView.BASIC
OWNER = "mallory"
URI = "https://example.com/" + "é" * 2_028
ARTIFACTS = {f"a{number}": {"uri": URI, "metadata": {"m": "x" * 4_000}} for number in range(31)}
"""As large as artifacts of a chunk may be, about 250 KB."""
CHUNKS, LARGE = 20, 18
OF_ONE_CHUNK = 400_000
OF_ONE_JOB = 2 * OF_ONE_CHUNK
JOBS = 8


class Large(list[str]):
    """The ids of large jobs: the first has chunks of 4 MiB together, the others artifacts of their own."""

    shared: Shared
    kind: str


async def report(api: KeyedApi, claimed: Sequence[ClaimedChunk], **fields: object) -> None:
    for one in claimed:
        await api.work.Heartbeat(HeartbeatRequest(reports=[LeaseReport(lease_token=one.lease.token, progress=fields)]))


async def fill(shared: Shared) -> Large:
    large = Large()
    large.shared, large.kind = shared, "large"
    async with shared.tenant(OWNER) as api:
        job = await api.create("large.chunks", item_count=CHUNKS, chunk_size=1, input={"of": "the first"})
        await report(api, await api.claim("large.chunks", LARGE), artifacts=ARTIFACTS)
        large.append(job.job_id)
        for number in range(JOBS):
            job = await api.create("large.jobs", job_id=f"large-{number}")
            [claimed] = await api.claim("large.jobs")
            for half in ("x", "y"):
                named = {f"{half}{name}": one for name, one in ARTIFACTS.items()}
                await report(api, [claimed], job_artifacts=named)
            large.append(job.job_id)
    return large


@pytest.fixture(scope="module")
def large(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    with shared_server(store, tmp_path_factory.mktemp("replies")) as shared:
        yield asyncio.run(fill(shared))


@pytest.fixture
async def api(large: Large) -> AsyncIterator[KeyedApi]:
    async with large.shared.tenant(OWNER) as opened:
        yield opened


@pytest.fixture
async def bystander(large: Large) -> AsyncIterator[KeyedApi]:
    async with large.shared.tenant("bob") as opened:
        yield opened


def fits(answer: Message) -> bool:
    return answer.ByteSize() <= MAX_REPLY_BYTES


async def test_a_full_job_reports_where_its_chunks_continue(api: KeyedApi, large: Large):
    answer = await api.jobs.GetJob(GetJobRequest(job_id=large[0], view=FULL))
    job = answer.job
    assert fits(answer)
    assert 0 < len(job.chunks) < LARGE
    request = ListChunksRequest(job_id=job.job_id, page_token=job.next_chunks_page_token, page_size=1_000)
    chunks = list(job.chunks)
    while request.page_token:
        page = await api.jobs.ListChunks(request)
        assert fits(page)
        chunks += page.chunks
        request.page_token = page.next_page_token
    assert [chunk.index for chunk in chunks] == list(range(CHUNKS))
    assert [len(chunk.artifacts) for chunk in chunks] == [len(ARTIFACTS)] * LARGE + [0] * (CHUNKS - LARGE)


async def test_a_job_that_is_whole_names_no_page(api: KeyedApi, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1)
    for view in (FULL, BASIC):
        shown = await api.get(job.job_id, view=view)
        assert (len(shown.chunks), shown.next_chunks_page_token) == (3 if view == FULL else 0, "")


async def test_characters_of_many_bytes_count_as_many(api: KeyedApi, kind: str):
    clef = "\U0001d11e"
    job = await api.create(kind, item_count=900, chunk_size=1)
    claimed: list[ClaimedChunk] = []
    while len(claimed) < 900:  # one commit tells at most 1 MiB of a job
        claimed += await api.claim(kind, 900, worker=clef * 256)
    for begin in range(0, 900, 450):
        part, progress = claimed[begin : begin + 450], {"message": clef * 800, "stage": clef * 128}
        reports = [LeaseReport(lease_token=one.lease.token, progress=progress) for one in part]
        await api.work.Heartbeat(HeartbeatRequest(reports=reports))
    answer = await api.jobs.GetJob(GetJobRequest(job_id=job.job_id, view=FULL))
    page = await api.list_chunks(job.job_id, page_size=1_000)
    assert fits(answer)
    assert fits(page)
    assert 0 < len(answer.job.chunks) < 900
    assert 0 < len(page.chunks) < 900
    assert answer.job.next_chunks_page_token
    assert page.next_page_token


@pytest.mark.parametrize("view", [FULL, BASIC])
async def test_what_a_batch_has_no_room_for_is_named(api: KeyedApi, large: Large, view: int):
    request = BatchGetJobsRequest(job_ids=[*large, "nothing"], view=view)
    jobs, missing = list[str](), list[str]()
    while request.job_ids:
        answer = await api.jobs.BatchGetJobs(request)
        assert fits(answer)
        assert answer.jobs or answer.missing_job_ids
        jobs += [job.job_id for job in answer.jobs]
        missing += answer.missing_job_ids
        assert sorted([*jobs, *missing, *answer.unread_job_ids]) == sorted([*large, "nothing"])
        request = BatchGetJobsRequest(job_ids=answer.unread_job_ids, view=view)
    assert (jobs, missing) == (large, ["nothing"])


@pytest.mark.parametrize("view", [FULL, BASIC])
async def test_a_list_ends_its_page_early(api: KeyedApi, large: Large, view: int):
    request = ListJobsRequest(filter=JobFilter(kinds=["large.chunks", "large.jobs"]), page_size=500, view=view)
    listed: list[Job] = []
    pages = 0
    while not pages or request.page_token:
        page = await api.jobs.ListJobs(request)
        assert fits(page)
        assert page.total_size == len(large)
        assert page.jobs
        listed += page.jobs
        pages, request.page_token = pages + 1, page.next_page_token
    assert [job.job_id for job in listed] == large[::-1]
    assert pages > 1


async def test_a_history_ends_its_page_early(api: KeyedApi, large: Large):
    for job_id in large:
        request, pages, last = (
            ListEventsRequest(job_id=job_id, page_size=500, order=EventOrder.EVENT_ORDER_POSITION_ASC),
            0,
            0,
        )
        while not pages or request.page_token:
            page = await api.jobs.ListEvents(request)
            assert fits(page)
            assert [event.revision for event in page.events] == list(range(last + 1, last + 1 + len(page.events)))
            last += len(page.events)
            pages, request.page_token = pages + 1, page.next_page_token
        assert last == (await api.get(job_id)).revision


async def test_a_claim_gives_back_what_its_answer_has_no_room_for(api: KeyedApi, kind: str):
    await api.create(kind, item_count=60, chunk_size=1, input={"large": "x" * 60_000})
    claimed: list[ClaimedChunk] = []
    answers = 0
    async with asyncio.timeout(BOUND):
        while len(claimed) < 60:
            answer = await api.work.ClaimChunks(
                ClaimChunksRequest(kinds=[kind], worker="w", max_chunks=60, wait={"seconds": 5})
            )
            assert fits(answer)
            claimed += answer.chunks
            answers += 1
    assert sorted(one.chunk.index for one in claimed) == list(range(60))
    assert {one.chunk.attempt for one in claimed} == {1}
    assert answers > 1
    assert {result.status for result in await api.complete(*claimed)} == {OK}


async def test_the_sdk_continues_by_itself(api: KeyedApi, large: Large):
    async with AsyncJobClient(large.shared.server.target, api_key=api.token) as client:
        found = await client.batch_get_jobs([*large, "nothing"])
        assert [job.job_id for job in found.jobs] == large
        assert (found.missing_job_ids, found.unread_job_ids) == (["nothing"], [])
        assert [job.job_id async for job in client.list_jobs(view=JobView.FULL, kinds=["large.jobs"])] == large[:0:-1]
        assert len([chunk async for chunk in client.list_chunks(large[0], page_size=1_000)]) == CHUNKS


async def test_nobody_beside_a_reader_of_large_jobs_is_refused_or_mixed_up(
    api: KeyedApi, bystander: KeyedApi, large: Large, kind: str
):
    mine = await bystander.create(kind, input={"of": "bob"})

    async def own() -> set[str]:
        return {(await bystander.get(mine.job_id)).input["of"] for _ in range(30)}

    async def read_large(job_id: str) -> "Job":
        while True:  # who does not take what he has asked for is refused more, and asks again
            try:
                return await api.get(job_id)
            except AioRpcError as error:
                if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise

    read, *answers = await asyncio.gather(own(), *map(read_large, large * 4))
    assert read == {"bob"}
    assert [job.job_id for job in answers] == large * 4  # those that share a read, and those that it has no room for
    assert all(map(fits, answers))


BYTEA = 17
"""The number of PostgreSQL's type, whose values come in hexadecimal digits."""


class Fetched:
    """Counts the bytes that a database gives: rows of SQLite as they are fetched, whole results of PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self.bytes = 0
        event.listen(database.reader, "connect", self._connected)
        event.listen(database.reader, "after_cursor_execute", self._executed)

    def _connected(self, connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.row_factory = self._row

    def _row(self, _: sqlite3.Cursor, row: tuple[object, ...]) -> tuple[object, ...]:
        self.bytes += sum(len(value) for value in row if isinstance(value, str | bytes))
        return row

    def _executed(self, _: object, cursor: object, *__: object) -> None:
        if isinstance(cursor, psycopg.Cursor) and (result := cursor.pgresult) is not None:
            binary = [result.ftype(column) == BYTEA for column in range(result.nfields)]
            for row in range(result.ntuples):
                sizes = [len(result.get_value(row, column) or b"") for column in range(result.nfields)]
                self.bytes += sum(
                    size // 2 if is_binary else size for size, is_binary in zip(sizes, binary, strict=True)
                )


def open_beside(large: Large, directory: Path) -> Database:
    """Open the database that the server has open; of SQLite, which has one server, a copy."""
    database = large.shared.server.database
    if database.startswith("sqlite"):
        back_up(database, directory / "copy.db", lambda *_: None)
        database = f"sqlite:///{directory / 'copy.db'}"
    return open_database(database)


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize("view", [View.FULL, View.BASIC])
def test_no_more_is_read_than_is_sent(large: Large, tmp_path: Path, view: View):
    with closing(open_beside(large, tmp_path)) as database:
        fetched, keys = Fetched(database), [job_key(OWNER, job_id) for job_id in large]
        reads = ReadStore(database)
        read = reads.read_jobs(keys, view)
        assert read.unread
        assert list(read.jobs) == keys[: -len(read.unread)]
        answers = 2 if view is View.FULL else 1  # rows of jobs, and then chunks of the first
        assert fetched.bytes <= answers * MAX_REPLY_BYTES + OF_ONE_JOB + OF_ONE_CHUNK
        fetched.bytes = 0
        page = reads.list_chunks(keys[0], frozenset(), -1, 1_000)
        assert page is not None
        assert page.more
        assert 0 < fetched.bytes <= MAX_REPLY_BYTES + OF_ONE_CHUNK
