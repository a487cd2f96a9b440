"""An export shows every job as it was at one position, whatever happens meanwhile, cut and resumed anywhere."""

import asyncio
import base64
import json
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress

import grpc
import pytest
from jobledger.v1.export_pb2 import ExportJobsResponse
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.job_service_pb2 import UpdateJobRequest, WatchMode
from jobledger_service.core.model.history.epoch import MAC_BYTES

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import read, refused
from tests.support.exports import JSON_LINES, json_rows, pieces
from tests.support.server import Server
from tests.support.states import FAILED, QUEUED
from tests.support.watching import BOOKMARK, DELETED

pytestmark = pytest.mark.long  # servers are killed and drained while an export runs

Connect = Callable[[Server], Api]
NAME = "n" * 1_000
JOBS = 1_400
"""More than a page of an export has."""
PADDING = {f"padding-{number}": "p" * 255 for number in range(16)}
"""So that a piece holds no more than a dozen jobs."""


class Writers:
    """Change, end, retry, delete and create jobs at random, under ids that are used again, until told to stop."""

    def __init__(self, api: Api, kind: str, ids: int, seed: int) -> None:
        self._api = api
        self._kind = kind
        self._ids = [f"job-{number}" for number in range(ids)]
        self._random = random.Random(seed)
        self._told = asyncio.Condition()
        self.written = 0

    async def create_all(self) -> None:
        """Create every job."""
        for start in range(0, len(self._ids), 100):
            await asyncio.gather(*map(self._create, self._ids[start : start + 100]))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            job_id = self._random.choice(self._ids)
            write = self._random.choice([self._create, self._update, self._end, self._end, self._retry, self._delete])
            with suppress(grpc.RpcError):  # a write that its state does not allow
                await write(job_id)
            async with self._told:
                self.written += 1
                self._told.notify_all()

    async def more(self, count: int) -> None:
        """Wait for more writes."""
        enough = self.written + count
        async with self._told:
            await self._told.wait_for(lambda: self.written >= enough)

    def _create(self, job_id: str) -> Coroutine:
        labels = {"team": self._random.choice(["search", "media"])} | PADDING
        return self._api.create(self._kind, job_id=job_id, display_name=NAME, labels=labels, item_count=3, chunk_size=1)

    async def _update(self, job_id: str) -> None:
        priority, team = self._random.randrange(11), self._random.choice(["search", "media"])
        mask = {"paths": ["priority", "labels"]}
        request = UpdateJobRequest(job_id=job_id, update_mask=mask, priority=priority, labels=PADDING | {"team": team})
        await self._api.jobs.UpdateJob(request)

    async def _end(self, _: str) -> None:
        claimed = await self._api.claim(self._kind, 3)
        if not claimed:
            return
        await self._api.report(claimed[0], percent=self._random.random() * 100, stage="decode", message="on its way")
        if self._random.random() < 0.5:
            await self._api.complete(
                *claimed, progress={"job_artifacts": {"preview": {"uri": "s3://b/k", "size_bytes": 7}}}
            )
        else:
            await self._api.fail(*claimed, not_retryable=True)

    async def _retry(self, job_id: str) -> None:
        await self._api.retry(job_id)

    async def _delete(self, job_id: str) -> None:
        await self._api.delete(job_id, force=True)


class Model:
    """The jobs as a watch of every change tells them, up to a cursor."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    async def follow(self, api: Api, begin: bytes, end: bytes) -> None:
        """Take every change after one cursor up to another, which has the form of all cursors of this ledger."""
        async with api.watch_jobs(filter={}, cursor=begin, mode=WatchMode.WATCH_MODE_EVERY) as watch:
            while watch.cursor < end:  # positions are the cursors' last bytes, big-endian
                message = await watch.message()
                if message.type == BOOKMARK or message.cursor > end:
                    continue
                if message.type == DELETED:
                    del self.jobs[message.job.job_id]
                else:
                    self.jobs[message.job.job_id] = message.job

    def rows(self, wanted: Callable[[Job], bool]) -> list[dict[str, object]]:
        """Return what an export of the jobs that are wanted must show."""
        jobs = [job for job in self.jobs.values() if wanted(job)]
        jobs.sort(key=lambda job: (job.create_time.ToMicroseconds(), job.job_id))
        return [shown(job) for job in jobs]


def shown(job: Job) -> dict[str, object]:
    """Return some columns of a job, which together tell its revisions apart."""
    chunks = job.chunks_summary
    return {
        "job_id": job.job_id,
        "create_time": written(job.create_time),
        "update_time": written(job.update_time),
        "end_time": written(job.end_time) if job.HasField("end_time") else None,
        "state": JobState.Name(job.state).removeprefix("JOB_STATE_"),
        "priority": job.priority,
        "percent": job.progress.percent,
        "message": job.progress.message,
        "labels": dict(job.labels),
        "artifacts": sorted(job.artifacts),
        "chunks_completed": chunks.completed,
        "chunks_failed": chunks.failed,
        "error_code": job.error.code if job.HasField("error") else None,
        "retry_count": job.retry_count,
        "revision": job.revision,
    }


def written(time: object) -> str:
    """Return a time as an export writes it."""
    return f"{time.ToDatetime().isoformat(timespec='microseconds')}Z"


COLUMNS = list(shown(Job()))


class Cut:
    """An export that is cut after each piece and resumed by the next of several replicas."""

    def __init__(self, **request: object) -> None:
        self._request = request
        self.data = b""
        self.last = ExportJobsResponse()
        self.count = 0

    async def step(self, api: Api) -> bool:
        """Take one more piece; return whether there are more."""
        async for piece in pieces(api, **self._request, resume_token=self.last.resume_token):
            assert self.last.cursor in (b"", piece.cursor)
            assert piece.row_count >= self.last.row_count
            assert piece.percent >= self.last.percent
            self.data += piece.data
            self.last = piece
            self.count += 1
            break
        return bool(self.last.resume_token)

    async def again(self, api: Api) -> bool:
        """Ask again for the next piece, and forget it; return whether there are more."""
        async for piece in pieces(api, **self._request, resume_token=self.last.resume_token):
            return bool(piece.resume_token)
        return False

    @property
    def rows(self) -> list[dict[str, object]]:
        """All rows so far."""
        return [row | {"artifacts": sorted(row["artifacts"])} for row in json_rows(self.data.decode())]


async def begin_of(api: Api) -> bytes:
    """Return the cursor of a ledger as it is."""
    async with api.watch_jobs(filter={}) as watch:
        return (await watch.bookmark()).cursor


async def test_an_export_is_of_one_position_while_everything_changes(
    start_server: StartServer, connect: Connect, store: str, kind: str
):
    servers = [start_server()]
    if store == "postgresql":
        servers.append(start_server(servers[0].database))
    apis = [connect(server) for server in servers]
    begin = await begin_of(apis[0])
    writers = Writers(apis[-1], kind, ids=150, seed=1)
    await writers.create_all()
    running = [asyncio.create_task(writers.run()) for _ in range(8)]
    await writers.more(200)
    everything = Cut(format=JSON_LINES, columns=[*COLUMNS, "display_name"])
    filter_ = {"states": [QUEUED, FAILED], "max_priority": 5, "labels": {"team": "search"}, "search": NAME[:64]}
    some = Cut(format=JSON_LINES, columns=[*COLUMNS, "display_name"], filter=filter_)
    more = [True, True]
    while any(more):
        api = apis[everything.count % len(apis)]
        more = [left and await export.step(api) for left, export in zip(more, (everything, some), strict=True)]
        await writers.more(15)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    for export, wanted in ((everything, lambda _: True), (some, _is_some)):
        model = Model()
        await model.follow(apis[0], begin, export.last.cursor)
        for row in (rows := export.rows):
            assert row.pop("display_name") == NAME
        assert rows == model.rows(wanted)
        assert export.last.row_count == len(rows) > 8
    assert everything.count >= 5


def _is_some(job: Job) -> bool:
    return job.state in (QUEUED, FAILED) and job.priority <= 5 and job.labels["team"] == "search"


async def read_on(
    api: Api, got: list[ExportJobsResponse], meanwhile: Callable[[], None] = lambda: None
) -> grpc.aio.AioRpcError | None:
    """Read an export on, doing something after the first piece; return what ends it before its end."""
    token = got[-1].resume_token if got else ""
    try:
        async for piece in pieces(api, format=JSON_LINES, resume_token=token):
            if not got or got[-1].resume_token == token:
                meanwhile()
            got.append(piece)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_an_export_continues_after_a_drain_and_after_a_crash(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server()
    # Some pages, and a window that does not grow: the server cannot have sent it all before it goes.
    narrow = {"grpc.http2.bdp_probe": 0}
    await Writers(connect(server), kind, ids=JOBS, seed=2).create_all()
    whole: list[ExportJobsResponse] = []
    assert await read_on(connect(server), whole) is None

    got: list[ExportJobsResponse] = []
    drained = await read_on(connect(server, **narrow), got, server.terminate)
    assert drained is not None
    assert read(drained).reason == "DRAINING"
    assert await asyncio.to_thread(server.wait) == 0
    killed = await read_on(connect(server.start(), **narrow), got, server.kill)
    assert killed is not None
    assert killed.code() == grpc.StatusCode.UNAVAILABLE
    assert await read_on(connect(server.start()), got) is None
    assert b"".join(piece.data for piece in got) == b"".join(piece.data for piece in whole)
    assert len({piece.cursor for piece in got}) == 1
    assert got[-1].row_count == JOBS


async def test_an_export_whose_history_is_gone_is_refused(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server(event_retention="0"))
    for _ in range(80):
        await api.create(kind, display_name=NAME)
    export = Cut(format=JSON_LINES)
    assert await export.step(api)
    async with api.watch_jobs() as clock:
        with refused(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED"):
            while await export.again(api):
                await api.create(kind)
                await clock.bookmark()


async def test_a_token_that_was_tampered_with_is_refused(api: Api, kind: str):
    for _ in range(80):
        await api.create(kind, display_name=NAME)
    request = {"filter": {"kinds": [kind]}, "format": JSON_LINES}
    export = Cut(**request)
    assert await export.step(api)
    token = export.last.resume_token
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    mac, (mark, position, *place) = raw[:MAC_BYTES], json.loads(raw[MAC_BYTES:])

    async def resume(*values: object) -> None:
        content = json.dumps(values, separators=(",", ":")).encode()
        token = base64.urlsafe_b64encode(mac + content).decode().rstrip("=")
        await anext(pieces(api, **request, resume_token=token))

    await resume(mark, position, *place)
    for wrong in ([mark, position + 1, *place], [mark, 2**63, *place], [mark, position], []):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "resume_token"):
            await resume(*wrong)
