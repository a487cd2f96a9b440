"""How many jobs of an owner may be QUEUED."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from jobledger.v1.job_service_pb2 import ListJobsRequest

from tests.access.conftest import As
from tests.access.test_limits import EXHAUSTED, refusals
from tests.conftest import StartServer
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, first_key


async def until_let_in(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call again and again while it is one too many."""
    while isinstance(answer := (await asyncio.gather(call(), return_exceptions=True))[0], grpc.aio.AioRpcError):
        assert answer.code() == EXHAUSTED


async def test_an_owner_has_no_more_queued_jobs_than_allowed(
    start_server: StartServer, as_holder: As, store: str, tmp_path: Path, kind: str
):
    database = new_database(store, tmp_path)
    token = first_key(database)
    admin = as_holder(start_server(database, auth="keys", queued_jobs_per_owner="10"), token)
    api = as_holder(admin, (await admin.make(CALLER, WORKER, owner="x")).token)
    other = as_holder(admin, (await admin.make(CALLER, owner="y")).token)
    result = await refusals([api.create(kind) for _ in range(30)])
    assert [(one.code, one.reason, one.subjects, one.metadata) for one in result] == [
        (EXHAUSTED, "TOO_MANY_QUEUED_JOBS", ["owner:x"], {"limit": "10"})
    ] * 20
    assert all(one.retry_delay > 0 for one in result)
    await other.create(kind)
    await api.claim(kind)
    await until_let_in(lambda: api.create(kind))
    assert (await api.jobs.ListJobs(ListJobsRequest(filter={"kinds": [kind]}))).total_size == 11
