"""SIGKILL under load: what was acknowledged is there after the restart, and a watcher that resumes sees each once."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMode

from tests.conftest import StartServer
from tests.support.api import Api, fresh_kind
from tests.support.lives import assert_gapless
from tests.support.states import CHUNK_COMPLETED
from tests.support.watching import Watch

pytestmark = pytest.mark.long  # servers are killed under load

EVERY = WatchMode.WATCH_MODE_EVERY
CALLERS = 24
Connect = Callable[..., Api]


class Acknowledged:
    """What the server said that it had written."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.progress: dict[str, float] = {}
        self.completed: set[str] = set()
        self.count = 0
        self.enough = asyncio.Event()

    def note(self, job_id: str, revision: int) -> None:
        """Take down that a job is at least at a revision."""
        self.revisions[job_id] = revision
        self.count += 1
        if self.count >= 300:
            self.enough.set()


async def write(api: Api, result: Acknowledged) -> None:
    """Create jobs and bring them on, one write after the other, until the server is gone."""
    kind = fresh_kind()
    try:
        while True:
            job = await api.create(kind, item_count=2, chunk_size=1)
            result.note(job.job_id, 1)
            claimed = await api.claim(kind, 2)
            result.note(job.job_id, 2)
            await api.report(claimed[0], percent=50)
            result.progress[job.job_id] = 25
            result.note(job.job_id, 3)
            await api.complete(claimed[0])
            result.completed.add(job.job_id)
            result.note(job.job_id, 4)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the end of the server is the end of the loop


async def read_to_the_end(watch: Watch[WatchJobsResponse], into: list[WatchJobsResponse]) -> None:
    """Read a watch until the server is gone."""
    try:
        while True:
            into.append(await watch.change())
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - as above


def assert_kept(result: Acknowledged, jobs: dict[str, Job]) -> None:
    """Hold that the jobs are at least as far as was acknowledged."""
    assert jobs.keys() >= result.revisions.keys()
    for job_id, revision in result.revisions.items():
        assert jobs[job_id].revision >= revision
    for job_id, percent in result.progress.items():
        assert jobs[job_id].progress.percent >= percent
    for job_id in result.completed:
        assert jobs[job_id].chunks[0].state == CHUNK_COMPLETED


async def stored(api: Api, job_ids: list[str]) -> dict[str, Job]:
    """Return the jobs by id, as they are stored."""
    found: dict[str, Job] = {}
    for n in range(0, len(job_ids), 500):
        answer = await api.batch_get(job_ids=job_ids[n : n + 500])
        found |= {job.job_id: job for job in answer.jobs}
    return found


@pytest.mark.guarantee("3d.1")
async def test_what_was_acknowledged_is_kept_and_what_was_watched_is_seen_once(
    start_server: StartServer, connect: Connect
):
    server, result = start_server(), Acknowledged()
    seen: list[WatchJobsResponse] = []
    cursor = b""
    for _ in range(3):
        result.enough.clear()
        result.count = 0
        api = connect(server)
        async with connect(server).watch_jobs(filter=None, cursor=cursor, mode=EVERY) as watch:
            if not cursor:
                await watch.bookmark()
            reading = asyncio.create_task(read_to_the_end(watch, seen))
            writing = [asyncio.create_task(write(connect(server), result)) for _ in range(CALLERS)]
            await result.enough.wait()
            server.kill()
            await asyncio.gather(reading, *writing)
            cursor = watch.cursor
        server.start()
        assert_kept(result, await stored(connect(server), list(result.revisions)))

    api = connect(server)
    async with api.watch_jobs(filter=None, cursor=cursor, mode=EVERY) as watch:
        last = await api.create(fresh_kind())
        seen += await watch.through(lambda message: message.job.job_id == last.job_id)
    assert [message.event.position for message in seen] == list(range(1, len(seen) + 1))
    known: dict[str, int] = {}
    assert_gapless(seen, known)
    jobs = await stored(api, list(known))
    assert known == {job_id: job.revision for job_id, job in jobs.items()}
    assert known.keys() >= result.revisions.keys()
