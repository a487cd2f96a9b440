"""A database from before statistics counts its jobs when it is upgraded, and goes on from there."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from jobledger.v1.job_service_pb2 import RetryJobRequest
from jobledger.v1.stats_pb2 import GetJobStatsRequest, JobActivity
from jobledger_service.core.store.engines import open_database
from jobledger_service.core.store.migrate import migrate, upgrade
from jobledger_service.core.store.tables import chunks, jobs, ledger
from sqlalchemy import insert, inspect, select, text

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.states import COMPLETED, FAILED, QUEUED, RUNNING

pytestmark = pytest.mark.long  # databases of an earlier version are migrated

FIRST = "0001"


def upgraded_copy(old: str, store: str, directory: Path) -> str:
    """Put the jobs of a database into one that the first version made, and return that, upgraded."""
    copy = new_database(store, directory)
    with closing(open_database(old)) as source, closing(open_database(copy)) as target:
        with source.read() as reading, target.change_schema() as writing:
            if store == "postgresql":
                writing.execute(text("DROP SCHEMA public CASCADE"))
                writing.execute(text("CREATE SCHEMA public"))
            migrate(writing, FIRST)
            position = reading.execute(select(ledger.c.position)).scalar_one()
            row = {"one": 1, "name": str(uuid4()), "position": position}
            named = "INSERT INTO ledger (one, ledger_id, position, trimmed) VALUES (:one, :name, :position, 0)"
            writing.execute(text(named), row)
            for table in (jobs, chunks):
                then = [table.c[column["name"]] for column in inspect(writing).get_columns(table.name)]
                rows = reading.execute(select(*then)).mappings()
                writing.execute(insert(table), [dict(row) for row in rows])
        upgrade(target)
    return copy


async def test_jobs_from_before_are_counted(
    start_server: StartServer, connect: Callable[[Server], Api], store: str, tmp_path: Path
):
    first = start_server()
    api = connect(first)
    for state in (QUEUED, RUNNING, COMPLETED, FAILED):
        await api.job_in(state, f"old.k{state}", item_count=3, chunk_size=1)
    retried = await api.job_in(FAILED, "old.retried")
    await api.jobs.RetryJob(RetryJobRequest(job_id=retried.job_id))
    before = await api.jobs.GetJobStats(GetJobStatsRequest())
    assert first.stop() == 0

    api = connect(start_server(upgraded_copy(first.database, store, tmp_path)))
    after = await api.jobs.GetJobStats(GetJobStatsRequest())
    assert after.total.activity == JobActivity(processing={}, waiting={})
    for old, new in zip(before.kinds, after.kinds, strict=True):
        old.stats.now.ClearField("oldest_queued_seconds")
        new.stats.now.ClearField("oldest_queued_seconds")
        assert (old.kind, old.stats.now) == (new.kind, new.stats.now)
    await api.complete(*await api.claim("old.retried"))
    [later] = (await api.jobs.GetJobStats(GetJobStatsRequest(kinds=["old.retried"]))).kinds
    assert (later.stats.now.completed, later.stats.now.queued) == (1, 0)
    since_retry = (await api.get(retried.job_id)).start_time.ToMicroseconds() - retried.end_time.ToMicroseconds()
    assert later.stats.activity.waiting.count == 1
    assert 0 < later.stats.activity.waiting.total_seconds * 1e6 <= since_retry
