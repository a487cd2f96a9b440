"""The service's own jobs: seen and steered like any, and worked by nobody but the service."""

import grpc
import pytest
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimChunkRequest,
    ClaimChunksRequest,
    CompleteChunksRequest,
    FailChunksRequest,
    HeartbeatRequest,
    LeaseReport,
    ReleaseChunksRequest,
)
from jobledger_service.core.database.maintenance.epochs import read_epoch
from jobledger_service.core.model.job import uid_of
from jobledger_service.core.model.leases import Lease
from sqlalchemy import NullPool, create_engine

from tests.bulk.runs import changes, create_many, ended, report
from tests.conftest import StartServer
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED, LEASE_LOST, QUEUED, RUNNING

pytestmark = pytest.mark.long  # runs are stopped, and leases of killed servers run out

CANCEL_REQUESTED = ChangeType.CHANGE_TYPE_CANCEL_REQUESTED


@pytest.fixture
def slow_server(start_server: StartServer) -> Server:
    """Return a server whose runs change 5 jobs a second: slower than whatever stalls while they go on."""
    return start_server(bulk_rate="5")


@pytest.fixture
def slow(slow_server: Server, connect: Connect) -> Api:
    """Return its API."""
    return connect(slow_server)


async def begun(api: Api, kind: str) -> str:
    """Begin a run that cancels all jobs of a kind, and return it when it has done a part."""
    run = (await api.jobs.CancelJobs(CancelJobsRequest(filter={"kinds": [kind]}))).job.job_id
    async with api.watch_job(run) as watch:
        await watch.until(lambda message: message.job.state == RUNNING and message.job.progress.percent > 0)
    return run


@pytest.mark.parametrize("name", ["jobledger.bulk", "jobledger.artifacts", "jobledger.later"])
async def test_reserved_kinds_are_neither_created_nor_claimed(api: Api, name: str):
    with invalid("kind"):
        await api.create(name)
    with invalid("kinds[1]"):
        await api.work.ClaimChunks(ClaimChunksRequest(kinds=["a", name], worker="w"))


async def test_a_lease_of_the_service_is_of_no_use_to_others(slow_server: Server, slow: Api, kind: str):
    await create_many(slow, kind, 60)
    run = await begun(slow, kind)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await slow.work.ClaimChunk(ClaimChunkRequest(job_id=run, chunk_index=0, worker="w", task_id="t"))
    job = await slow.get(run)
    with create_engine(slow_server.database, poolclass=NullPool).connect() as connection:
        epoch = read_epoch(connection)
    claim_time = job.chunks[0].start_time.ToMicroseconds()
    token = Lease(f"default/{run}", uid_of(job.uid), 0, job.chunks[0].attempt, claim_time).token(epoch)
    report_ = HeartbeatRequest(reports=[LeaseReport(lease_token=token)])
    completion = CompleteChunksRequest(completions=[ChunkCompletion(lease_token=token)])
    failure = FailChunksRequest(failures=[ChunkFailure(lease_token=token, error={"code": "X"})])
    answers = [
        await slow.work.Heartbeat(report_),
        await slow.work.CompleteChunks(completion),
        await slow.work.FailChunks(failure),
        await slow.work.ReleaseChunks(ReleaseChunksRequest(releases=[ChunkRelease(lease_token=token)])),
    ]
    assert [answer.results[0].status for answer in answers] == [LEASE_LOST] * 4
    assert (await slow.get(run)).state == RUNNING


async def test_a_run_is_stopped_between_steps_and_continues_with_a_retry(
    slow_server: Server, slow: Api, connect: Connect, kind: str
):
    job_ids = await create_many(slow, kind, 60)
    run = await begun(slow, kind)
    await slow.cancel(run)
    stopped = await ended(slow, run)
    done = report(stopped)["applied"]
    assert stopped.state == CANCELLED
    assert 1 <= done < 60
    states = [(await slow.get(job_id)).state for job_id in job_ids]
    assert (states.count(CANCELLED), states.count(QUEUED)) == (done, 60 - done)
    [late] = await create_many(slow, kind, 1)
    assert slow_server.stop() == 0
    slow_server.settings["bulk_rate"] = "10000"
    fast = connect(slow_server.start())
    await fast.retry(run)
    finished = await ended(fast, run)
    assert (finished.state, report(finished)["applied"]) == (COMPLETED, 60)
    assert [len(await changes(fast, job_id, CANCEL_REQUESTED)) for job_id in job_ids] == [1] * 60
    assert (await fast.get(late)).state == QUEUED
