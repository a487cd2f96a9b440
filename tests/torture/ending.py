"""What is recorded when a run has come to rest: the whole ledger, the jobs, what a recount corrects, and defects."""

import asyncio
import subprocess
from contextlib import closing
from pathlib import Path

import grpc
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import BatchGetJobsRequest, ListJobsRequest, WatchJobsRequest, WatchMode
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger_service.core.database.engines import open_database

from tests.fuzz.campaign import wrong_line
from tests.support.bounds import BOUND
from tests.support.keys import KeyedApi
from tests.support.recount import recount
from tests.support.server import Server, running
from tests.support.watching import BOOKMARK
from tests.torture.assembly import OWNERS
from tests.torture.recorder import OPTIONS, HistoryWriter, digest_of, plain
from tests.torture.workload import SENTINEL
from tests.torture.world import World

PAGE = 100
DATABASE = "level error: the database"
"""What servers log of a database that is away or has lost commits, as they should."""


async def first_cursor(target: str, token: str) -> bytes:
    """Return the cursor before all that is recorded."""
    api = KeyedApi(target, token)
    async with api.watch_jobs(filter=JobFilter(all_owners=True), from_now=True) as watch:
        await watch.bookmark()
    await api.channel.close()
    return watch.cursor


async def record_end(world: World, token: str, cursor: bytes, folder: Path) -> None:
    """Write the jobs that are stored and the ledger from a cursor on, stop the servers, and recount."""
    with closing(HistoryWriter(folder / "final.jsonl")) as writer:
        async with grpc.aio.insecure_channel(world.servers[0].target, options=OPTIONS) as channel:
            reader = Reader(channel, token)
            for owner in OWNERS:
                await reader.record_jobs(owner, writer)
            await reader.record_ledger(cursor, folder / "ledger.jsonl")
        for server in world.servers:
            await asyncio.to_thread(_stop, server, writer)
        writer.write("figures", **await asyncio.to_thread(_recount, world.database))


class Reader:
    """Reads all that there is, as an admin."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._jobs = JobServiceStub(channel)
        self._how = {"metadata": (("authorization", f"Bearer {token}"),), "timeout": BOUND}

    async def record_jobs(self, owner: str, writer: HistoryWriter) -> None:
        """Write the jobs of an owner, with their chunks and what these put out."""
        request = ListJobsRequest(filter=JobFilter(owner=owner), page_size=PAGE)
        while True:
            page = await self._jobs.ListJobs(request, **self._how)
            unread = [job.job_id for job in page.jobs]
            while unread:
                answer = await self._jobs.BatchGetJobs(BatchGetJobsRequest(job_ids=unread, owner=owner), **self._how)
                for job in answer.jobs:
                    writer.write("job", **plain(job))
                for job_id in (*page.unreadable_job_ids, *answer.unreadable_job_ids):
                    writer.write("defect", line=f"{job_id} cannot be read")
                unread = list(answer.unread_job_ids)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def record_ledger(self, cursor: bytes, path: Path) -> None:
        """Write all events up to the first bookmark after the last job of each owner."""
        everything = JobFilter(all_owners=True, include_service_jobs=True)
        request = WatchJobsRequest(cursor=cursor, mode=WatchMode.WATCH_MODE_EVERY, filter=everything, batches=True)
        missing, call = set(OWNERS), self._jobs.WatchJobs(request, **self._how)
        with closing(HistoryWriter(path)) as writer:
            async for message in call:
                for part in (message, *message.following):
                    if part.type == BOOKMARK and not missing:
                        call.cancel()
                        return
                    if part.HasField("event"):
                        fields = plain(part)
                        fields["following"] = []
                        writer.write("event", **fields, digest=digest_of(part))
                        if part.job.kind == SENTINEL:
                            missing.discard(part.event.owner)


def _stop(server: Server, writer: HistoryWriter) -> None:
    """Drain a server; write what of it should never be."""
    try:
        if (status := server.stop()) != 0:
            writer.write("defect", line=f"{server.log.name} ended with status {status}")
    except subprocess.TimeoutExpired:
        writer.write("defect", line=f"{server.log.name} did not drain")
        server.kill()
    except AssertionError as error:  # a reason that its method does not declare
        writer.write("defect", line=f"{server.log.name}: {error}")
    finally:
        if server in running:
            running.remove(server)
    for line in server.log.read_text(errors="replace").splitlines():
        if (wrong := wrong_line(line)) and DATABASE not in wrong:
            writer.write("defect", line=f"{server.log.name}: {wrong}: {line[:2_000]}")


def _recount(database: str) -> dict[str, int]:
    """Return how many derived rows were wrong."""
    with closing(open_database(database)) as opened:
        recounted = recount(opened)
    return {**recounted.rows, "unreadable": recounted.unreadable}
