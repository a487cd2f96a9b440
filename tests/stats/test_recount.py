"""`recount` makes derived rows what they would be if nobody had spoilt them, also while servers write."""

import asyncio
import random
from asyncio.subprocess import PIPE
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.recount import Recounted
from jobledger_service.core.database.tables import counts
from sqlalchemy import Connection, text

from tests.conftest import StartServer
from tests.support.api import Api, fresh_kind
from tests.support.databases import new_database
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi, first_key
from tests.support.limits import each_scope, kind_scope, set_limit
from tests.support.recount import recount
from tests.support.server import COMMAND, run_command
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING

DERIVED = (
    "SELECT job_key, words FROM job_words",
    "SELECT job_key, artifact_bytes FROM jobs",
    """SELECT owner, kind, state, jobs, chunks_pending, chunks_processing, artifact_bytes FROM counts
    WHERE jobs <> 0 OR chunks_pending <> 0 OR chunks_processing <> 0 OR artifact_bytes <> 0""",
    "SELECT limit_key, max_running, running, waiting FROM limits",
    "SELECT term, block, bits FROM event_terms",
)
RECOUNTED, KEPT = {"counts", "limits", "jobs", "job_words", "event_terms"}, {"rollups", "running_totals", "failures"}


def derived(database: Database) -> list[list[Any]]:
    """Return all derived rows that say anything, in one order."""
    with database.read() as connection:
        return [sorted(map(tuple, connection.execute(text(statement)))) for statement in DERIVED]


def spoil(connection: Connection, rng: random.Random) -> None:
    """Do to derived rows what a server that does not know of them leaves undone."""
    for table, key, columns in (
        (
            "counts",
            "owner || ' ' || kind || ' ' || state",
            ("jobs", "chunks_pending", "chunks_processing", "artifact_bytes"),
        ),
        ("jobs", "job_key", ("artifact_bytes",)),
        ("limits", "limit_key", ("running", "waiting")),
    ):
        for name in connection.execute(text(f"SELECT {key} FROM {table}")).scalars().all():  # noqa: S608
            if rng.random() < 0.6:
                column, by = rng.choice(columns), rng.choice([-2, 1, 5])
                change = text(f"UPDATE {table} SET {column} = {column} + :by WHERE {key} = :name")  # noqa: S608
                connection.execute(change, {"by": by, "name": name})
            elif table == "counts" and rng.random() < 0.5:
                connection.execute(text(f"DELETE FROM counts WHERE {key} = :name"), {"name": name})  # noqa: S608
    connection.execute(text("DELETE FROM counts WHERE owner = 'nobody'"))
    columns = ", ".join(column.name for column in counts.columns if column.computed is None)
    connection.execute(
        text(f"INSERT INTO counts ({columns}) VALUES ('nobody', 'no.kind', 'QUEUED', 7, 8, 9, 0, 0, 0, 0, 10)")  # noqa: S608
    )
    for key in connection.execute(text("SELECT job_key FROM job_words")).scalars().all():
        change = rng.choice(
            ["DELETE FROM job_words", "UPDATE job_words SET words = 'old words'", "UPDATE job_words SET words = words"]
        )
        connection.execute(text(f"{change} WHERE job_key = :key"), {"key": key})
    for term, block in connection.execute(text("SELECT term, block FROM event_terms")).all():
        change = rng.choice(["DELETE FROM event_terms", "UPDATE event_terms SET bits = 0 - bits"])
        if rng.random() < 0.5:
            connection.execute(text(f"{change} WHERE term = :term AND block = :block"), {"term": term, "block": block})
    connection.execute(text("INSERT INTO event_terms VALUES ('nobody', 0, 6)"))


async def make_artifacts(api: Api, kind: str, rng: random.Random) -> None:
    """Give the job of a kind that is in work, and its chunks, artifacts that replace one another."""
    await api.create(kind, item_count=3, chunk_size=1)
    for chunk in await api.claim(kind, 3):
        for _ in range(3):
            names = rng.sample("abc", 2)
            made = {name: {"uri": "s3://b/x", "size_bytes": rng.randrange(10**6)} for name in names}
            report = LeaseReport(lease_token=chunk.lease.token, progress={"artifacts": made, "job_artifacts": made})
            await api.work.Heartbeat(HeartbeatRequest(reports=[report]))
        if rng.random() < 0.5:
            await api.fail(chunk)


async def lives(api: Api, rng: random.Random) -> None:
    """Make jobs in all states, with labels and limits, and delete some."""
    for kind in (fresh_kind(), fresh_kind()):
        for state in (COMPLETED, FAILED, CANCELLED, RUNNING, QUEUED):
            name, labels = f"Job {rng.randrange(100)}", {"dataset": rng.choice(["coco", "voc"])}
            item = {"item_count": rng.randint(1, 6), "chunk_size": 2, "display_name": name, "labels": labels}
            job = await api.job_in(state, kind, **item)
            if state == RUNNING:
                await make_artifacts(api, kind, rng)
            if state in (COMPLETED, CANCELLED) and rng.random() < 0.5:
                await api.delete(job.job_id)
            if state == RUNNING:
                await api.cancel(job.job_id, grace_period={"seconds": 3600})
    for count in range(3):
        fanned_in = fresh_kind()
        await api.create(fanned_in, item_count=2, chunk_size=1, finalizer={})
        if count:
            await api.complete(*await api.claim(fanned_in, count))
    limited = fresh_kind()
    await set_limit(api, kind_scope(limited), 2)
    await set_limit(api, each_scope("user"), 2)
    for user in "aabbbc":
        await api.create(limited, labels={"user": user}, limited_labels=["user"])
    await api.claim(limited, 1)


async def tenants(target: str, token: str) -> list[KeyedApi]:
    """Return the APIs of two owners."""
    admin = KeyedApi(target, token)
    keys = [await admin.make(CALLER, WORKER, ADMIN, owner=owner) for owner in ("search", "video")]
    await admin.channel.close()
    return [KeyedApi(target, key.token) for key in keys]


@pytest.mark.guarantee("3d.11")
@pytest.mark.long
async def test_recount_makes_what_was_spoilt_what_it_would_be(start_server: StartServer, store: str, tmp_path: Path):
    rng = random.Random(7)
    url = new_database(store, tmp_path)
    token = first_key(url)
    server = start_server(url, auth="keys")
    for api in await tenants(server.target, token):
        await lives(api, rng)
        await api.channel.close()
    assert server.stop() == 0

    with closing(open_database(url)) as database:
        meant = derived(database)
        assert all(meant), "there is nothing to spoil"
        assert recount(database) == Recounted(), "what servers wrote is right"
        for seed in range(5):
            with database.write() as connection:
                spoil(connection, random.Random(seed))
            assert derived(database) != meant
            assert recount(database) != Recounted()
            assert derived(database) == meant
            assert recount(database) == Recounted()
        with database.read() as connection:
            query = database.dialect.query_value([["coco"]])
            keys = set(connection.execute(database.dialect.searched(), {"query": query}).scalars())
        assert keys == {key for key, words in meant[0] if "coco" in words.split()}


@pytest.mark.guarantee("3d.11")
@pytest.mark.long
async def test_recount_is_exact_while_servers_write(start_server: StartServer, store: str, tmp_path: Path):
    if store == "sqlite":
        pytest.skip("an SQLite database has one process")
    url = new_database(store, tmp_path)
    token = first_key(url)
    server = start_server(url, auth="keys")
    apis = await tenants(server.target, token)
    rng = random.Random(3)
    for api in apis:
        await lives(api, rng)
    with closing(open_database(url)) as database:
        with database.write() as connection:
            spoil(connection, rng)
        command = [COMMAND, "recount", "--database", url]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        ended = asyncio.create_task(process.communicate())
        while not ended.done():
            for api in apis:
                await lives(api, rng)
        result, progress = (stream.decode() for stream in await ended)
        assert process.returncode == 0, progress
        became = dict(line.split(": ", 1) for line in result.splitlines())
        assert {name for name, what in became.items() if what.endswith("rows corrected")} == RECOUNTED
        assert {name for name, what in became.items() if what.startswith("not recounted; ")} == KEPT
        assert {line.split(":")[0] for line in progress.splitlines()} == {"counts", "limits", "jobs", "event_terms"}
        assert recount(database) == Recounted()
        for api in apis:
            await lives(api, rng)
            await api.channel.close()
        assert recount(database) == Recounted()


def test_recount_needs_the_sqlite_file_for_itself(start_server: StartServer, store: str, tmp_path: Path):
    if store == "postgresql":
        pytest.skip("servers may run meanwhile")
    server = start_server()
    ended = run_command(tmp_path, "recount", "--database", server.database)
    assert ended.returncode == 78
    assert "is open in another server" in ended.stderr
