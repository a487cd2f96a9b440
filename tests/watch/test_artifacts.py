"""Artifacts are stored once a change, and every message of a watch shows all of them, live and read from the store."""

from collections.abc import Callable

import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.server import Server

pytestmark = pytest.mark.long  # a server is stopped and started

EVERY = WatchMode.WATCH_MODE_EVERY
ARTIFACTS = {f"out-{number}": {"uri": "s3://bucket/".ljust(585, "x")} for number in range(20)}


@pytest.mark.guarantee("3a.6")
async def test_a_watch_that_resumes_after_a_restart_shows_the_artifacts_that_it_was_fed(
    start_server: StartServer, connect: Callable[[Server], Api], kind: str
):
    server = start_server()
    api = connect(server)
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.report(claimed, job_artifacts=ARTIFACTS, artifacts=ARTIFACTS)
    async with api.watch_job(job.job_id, mode=EVERY) as watch:
        cursor = (await watch.message()).cursor
        await api.report(claimed, percent=5)
        live = await watch.change()
    assert len(live.job.artifacts) == len(live.chunks[0].artifacts) == len(ARTIFACTS)
    assert server.stop() == 0
    server.start()
    async with connect(server).watch_job(job.job_id, cursor=cursor, mode=EVERY) as watch:
        assert await watch.change() == live
