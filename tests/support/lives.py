"""Lives of jobs for watches to follow: busy ones, and fat ones that fill a stream that nobody reads."""

import asyncio
from itertools import pairwise

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse
from jobledger.v1.worker_service_pb2 import ClaimedChunk, HeartbeatRequest, LeaseReport

from tests.support.api import Api
from tests.support.states import CANCELLED, COMPLETED, FAILED

ENDED = (COMPLETED, FAILED, CANCELLED)
FAT = {f"{n:02}".ljust(63, "n"): "v" * 255 for n in range(64)}  # labels of 20 kB, which every message carries
URI, METADATA = "s3://bucket/".ljust(2_048, "x"), {"text": "m" * 2_000}
FATTER = {f"{n}": {"uri": URI, "metadata": METADATA} for n in range(100)}  # artifacts of 400 kB, likewise

Messages = list[WatchJobResponse] | list[WatchJobsResponse]


async def live(api: Api, job: Job, reports: int = 8) -> Job:
    """Bring a QUEUED job of some chunks to COMPLETED, one worker a chunk, all at once; return it as it ended."""

    async def work(claimed: ClaimedChunk) -> None:
        for n in range(1, reports + 1):
            await api.report(claimed, percent=90 * n / reports, message=f"step {n}")
        await api.complete(claimed)

    claimed = await api.claim(job.kind, 1_000)
    await asyncio.gather(*(work(one) for one in claimed))
    job = await api.get(job.job_id)
    assert job.state == COMPLETED
    return job


async def report_all(api: Api, claimed: list[ClaimedChunk], message: str) -> None:
    """Report one message for every chunk in one call."""
    reports = [LeaseReport(lease_token=one.lease.token, progress={"message": message}) for one in claimed]
    await api.work.Heartbeat(HeartbeatRequest(reports=reports))


def ended(message: WatchJobResponse | WatchJobsResponse) -> bool:
    """Say whether the message tells of a job that has ended."""
    return message.job.state in ENDED


def assert_ordered(messages: Messages) -> None:
    """Hold that positions only rise, and each job's revisions too."""
    positions = [message.event.position for message in messages if message.HasField("event")]
    assert all(before < after for before, after in pairwise(positions))
    revisions: dict[str, int] = {}
    for message in messages:
        assert message.job.revision > revisions.get(message.job.job_id, 0)
        revisions[message.job.job_id] = message.job.revision


def assert_gapless(messages: Messages, known: dict[str, int] | None = None) -> None:
    """Hold that each job's revisions follow on one by one, counting those that were merged; new jobs begin at 1."""
    known = {} if known is None else known
    for message in messages:
        if message.HasField("event"):
            first = message.event.revision - message.merged_revision_count
            assert first == known.get(message.job.job_id, 0) + 1
            assert message.event.revision == message.job.revision
        known[message.job.job_id] = message.job.revision
