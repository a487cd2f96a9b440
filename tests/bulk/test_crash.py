"""A server that is killed in the middle of a run: every job that was meant gets the verb exactly once."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from jobledger.v1.bulk_pb2 import RetryJobsRequest
from jobledger.v1.event_pb2 import ChangeType
from jobledger_service.features.artifacts.duty import URIS_PER_STEP

from tests.bulk.runs import changes, create_many, ended, report
from tests.bulk.test_artifacts import delete, job_with_many, names
from tests.conftest import QUICK, StartServer
from tests.replicas.conftest import Connect, serving
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.states import CANCELLED, COMPLETED, QUEUED

pytestmark = pytest.mark.long  # servers are killed while they work

JOBS = 80
SLOW, FAST = "10", "10000"
"""Jobs a second: a run that is to be cut is slow enough for whatever stalls before it is, and then goes on fast."""


async def begin(api: Api, kind: str) -> tuple[list[str], str, str]:
    """Begin a run over cancelled jobs; return them, the run, and its worker, when it has done a part."""
    job_ids = await create_many(api, kind, JOBS)
    await asyncio.gather(*(api.cancel(job_id) for job_id in job_ids))
    run = (await api.jobs.RetryJobs(RetryJobsRequest(filter={"kinds": [kind]}))).job.job_id
    async with api.watch_job(run) as watch:
        seen = await watch.until(lambda message: message.chunks and message.job.progress.percent > 0)
    assert seen.job.progress.percent < 100
    return job_ids, run, seen.chunks[0].worker


async def hold_exactly_once(api: Api, job_ids: list[str], run: str) -> None:
    finished = await ended(api, run)
    assert (finished.state, report(finished)["applied"], report(finished)["refused"]) == (COMPLETED, JOBS, 0)
    retries = await asyncio.gather(*(changes(api, job_id, ChangeType.CHANGE_TYPE_RETRIED) for job_id in job_ids))
    assert [len(found) for found in retries] == [1] * JOBS


async def test_a_run_continues_after_a_restart(start_server: StartServer, connect: Connect, kind: str):
    server = start_server(bulk_rate=SLOW)
    job_ids, run, _ = await begin(connect(server), kind)
    server.kill()
    server.settings["bulk_rate"] = FAST
    server.start()
    await hold_exactly_once(connect(server), job_ids, run)


async def test_a_run_that_is_cancelled_when_its_server_is_killed_reports_what_it_did_and_continues_with_a_retry(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server(bulk_rate=SLOW)
    api = connect(server)
    job_ids, run, _ = await begin(api, kind)
    await api.cancel(run)
    server.kill()
    server.settings["bulk_rate"] = FAST
    api = connect(server.start())
    stopped = await ended(api, run)
    states = [(await api.get(job_id)).state for job_id in job_ids]
    done = report(stopped)["applied"]
    assert (stopped.state, states.count(QUEUED), states.count(CANCELLED)) == (CANCELLED, done, JOBS - done)
    await api.retry(run)
    await hold_exactly_once(api, job_ids, run)


async def test_a_removal_of_artifacts_continues_after_a_kill_and_deletes_each_once(
    start_server: StartServer, connect: Connect, kind: str, tmp_path: Path
):
    media = tmp_path / "media"
    media.mkdir()
    server = start_server(artifact_roots=f"file://{media}", allow_file_artifacts="true")
    api = connect(server)
    job, count = await job_with_many(api, kind, media)
    removal = await delete(api, job)
    async with api.watch_job(removal.job_id) as watch:
        await watch.until(lambda message: message.job.progress.percent > 0)
    server.kill()
    assert 0 < len(names(media)) < count
    api = connect(server.start())
    new = await api.create(kind, job_id=job.job_id)
    done = await ended(api, removal.job_id)
    counted = report(done)
    assert (done.state, counted["deleted"] + counted["missing"]) == (COMPLETED, count)
    assert counted["missing"] <= URIS_PER_STEP, "what the last step deleted and did not record"
    assert not names(media)
    assert (await api.get(job.job_id)).uid == new.uid


async def test_a_run_continues_at_another_replica(tmp_path: Path, connect: Connect, kind: str):
    with serving(new_database("postgresql", tmp_path), tmp_path, 2, **QUICK, bulk_rate=SLOW) as servers:
        apis = [connect(server) for server in servers]
        job_ids, run, worker = await begin(apis[0], kind)
        doomed = int(worker.rpartition(":")[2])
        os.kill(doomed, signal.SIGKILL)
        [killed] = [server for server in servers if server.pid == doomed]
        killed.wait()
        left = apis[1 - servers.index(killed)]
        await hold_exactly_once(left, job_ids, run)


async def test_a_server_that_drains_gives_its_run_back(start_server: StartServer, connect: Connect, kind: str):
    server = start_server(bulk_rate=SLOW)
    job_ids, run, _ = await begin(connect(server), kind)
    assert server.stop() == 0
    server.settings["bulk_rate"] = FAST
    server.start()
    api = connect(server)
    await hold_exactly_once(api, job_ids, run)
    assert (await api.get(run)).chunks[0].attempt == 1
