"""A finalizer whose row cannot be read: the chunks before it complete, and its job can be cancelled."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from jobledger.v1.job_pb2 import JOB_VIEW_BASIC
from jobledger_service.core.database.engines import open_database
from sqlalchemy import text

from tests.conftest import StartServer
from tests.support.api import Api, fresh_kind
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.states import CANCELLED, OK, RUNNING, summary


async def test_the_last_other_chunk_completes(
    start_server: StartServer, store: str, tmp_path: Path, connect: Callable[[Server], Api]
):
    url, kind = new_database(store, tmp_path), fresh_kind()
    server = start_server(url)
    api = connect(server)
    job_id = (await api.create(kind, item_count=1, finalizer={})).job_id
    [only] = await api.claim(kind)
    assert server.stop() == 0
    with closing(open_database(url)) as database, database.write() as connection:
        connection.execute(text("UPDATE chunks SET current = :bad WHERE chunk_index = 1"), {"bad": b"\xc1"})
    api = connect(start_server(url))
    [result] = await api.complete(only)
    job = await api.get(job_id, view=JOB_VIEW_BASIC)
    assert (result.status, job.state, summary(job)) == (OK, RUNNING, {"total": 2, "completed": 1, "pending": 1})
    assert await api.claim(kind) == []
    assert (await api.cancel(job_id)).job.state == CANCELLED
