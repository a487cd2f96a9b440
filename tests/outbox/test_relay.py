"""A job exists if and only if the transaction that inserted its row committed, once, whatever is lost."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from jobledger_client import AsyncJobClient, JobNotFoundError, NewJob, outbox
from jobledger_client.outbox import _store
from sqlalchemy import Engine, create_engine, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from tests.conftest import StartServer
from tests.outbox.conftest import (
    EXPIRE,
    POSTGRESQL,
    SEVERAL_WRITERS,
    SQLITE,
    Relaying,
    created,
    emptied,
    order,
    rows,
    waiting,
)
from tests.support.bounds import BOUND, CALL_TIMEOUT, within
from tests.support.server import Server
from tests.support.tenants import shared_server

pytestmark = pytest.mark.one_store("a relay sees messages, not the store")


async def test_a_job_exists_if_and_only_if_its_transaction_commits(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    committed = [order(engine, number, kind, item_count=10) for number in range(3)]
    lost = order(engine, 3, kind, commit=False)
    with Session(engine) as session:
        in_session = [outbox.create_job(session, kind, display_name="in a session")]
        in_session += outbox.create_jobs(session, [NewJob(kind), NewJob(kind, job_id=f"{kind}-named")])
        session.commit()
    with Session(engine) as session:
        outbox.create_job(session, kind)
    assert await created(client, kind) == []
    async with relaying():
        await emptied(engine)
    assert await created(client, kind) == [*committed, *in_session]
    assert in_session[-1] == f"{kind}-named"
    assert (await client.get_job(committed[0])).progress.items_total == 10
    with pytest.raises(JobNotFoundError):
        await client.get_job(lost)
    assert rows(engine) == []


async def test_many_rows_are_sent_in_batches_in_their_order(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    with engine.begin() as connection:
        job_ids = outbox.create_jobs(connection, [NewJob(kind, input={"n": number}) for number in range(1_200)])
        job_ids += outbox.create_jobs(connection, (NewJob(kind, item_count=6_000, chunk_size=1) for _ in range(2)))
        job_ids += outbox.create_jobs(connection, (NewJob(kind, input={"text": "x" * 60_000}) for _ in range(20)))
    sizes = []
    while True:
        with engine.begin() as connection:
            claimed = _store.claim(connection)
        if not claimed:
            break
        sizes.append(len(claimed))
    assert sum(sizes) == len(job_ids)
    assert sizes[:2] == [500, 500]
    assert len(sizes) == 5  # no call has more than 500 jobs, 10,000 chunks or 1 MiB
    with engine.begin() as connection:
        connection.execute(update(outbox.table).values(due_time=0, attempts=0))
    async with relaying():
        await emptied(engine)
    assert await created(client, kind) == job_ids


@pytest.mark.parametrize("database", SEVERAL_WRITERS, indirect=True)
async def test_a_row_that_commits_late_is_not_skipped(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    async with relaying():
        with engine.begin() as late:
            last = outbox.create_job(late, kind)
            first = order(engine, 1, kind)  # its position is higher
            await within(exists(client, first))
        await emptied(engine)
    assert await created(client, kind) == [first, last]


async def exists(client: AsyncJobClient, job_id: str) -> None:
    while True:
        try:
            await client.get_job(job_id)
        except JobNotFoundError:
            continue
        return


@pytest.mark.parametrize("database", SEVERAL_WRITERS, indirect=True)
async def test_relays_skip_the_rows_that_another_claims(engine: Engine, kind: str):
    with engine.begin() as connection:
        first = outbox.create_jobs(connection, (NewJob(kind) for _ in range(500)))
        second = outbox.create_job(connection, kind)
    relays = engine.execution_options(isolation_level="READ COMMITTED")  # as a relay does
    with relays.begin() as one, relays.begin() as other:
        assert [row.request.job_id for row in _store.claim(one)] == first
        assert [row.request.job_id for row in _store.claim(other)] == [second]


@pytest.mark.parametrize("database", [SQLITE], indirect=True)
async def test_on_sqlite_one_relay_claims_at_a_time(database: str, engine: Engine, kind: str):
    order(engine, 1, kind)
    impatient = create_engine(database, connect_args={"timeout": 0})
    with engine.begin() as one:
        assert len(_store.claim(one)) == 1
        with pytest.raises(OperationalError, match="locked"), impatient.begin() as other:
            _store.claim(other)
    with impatient.begin() as other:
        assert _store.claim(other) == []
    impatient.dispose()


async def test_a_row_whose_deletion_was_lost_creates_no_second_job(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    job_ids = [order(engine, number, kind) for number in range(3)]
    named = order(engine, 3, kind, job_id=f"{kind}-named")
    with engine.begin() as connection:
        stored = connection.execute(select(outbox.table)).mappings().all()
    async with relaying():
        await emptied(engine)
        await client.delete_job(job_ids[0], force=True)  # and with it the request id
        with engine.begin() as connection:
            connection.execute(insert(outbox.table), [{**row, "attempts": 1} for row in stored])
        await emptied(engine)
    assert await created(client, kind) == [*job_ids, named]
    with pytest.raises(JobNotFoundError):
        await client.get_job(job_ids[0])


async def test_the_rows_of_a_killed_relay_are_sent_after_their_lease(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    held = order(engine, 1, kind)
    with engine.begin() as connection:
        assert len(_store.claim(connection)) == 1  # by a relay that is then killed
    async with relaying():
        free = order(engine, 2, kind)
        await emptied(engine, but=1)
        assert [row.request.job_id for row in await asyncio.to_thread(rows, engine)] == [held]
        await client.get_job(free)
        with engine.begin() as connection:
            connection.execute(EXPIRE)
        await emptied(engine)
    assert await created(client, kind) == [free, held]


async def test_rows_wait_for_the_server_in_their_order(
    engine: Engine, start_server: StartServer, relaying: Relaying, kind: str, warned: asyncio.Event
):
    server = start_server()
    server.kill()
    async with relaying(server.target, options=[("grpc.max_reconnect_backoff_ms", 100)]):
        job_ids = [order(engine, number, kind) for number in range(5)]
        await within(warned.wait())
        server.start()
        await emptied(engine)
    async with AsyncJobClient(server.target) as client:
        assert await created(client, kind) == job_ids


async def test_a_relay_waits_for_its_database(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str, warned: asyncio.Event
):
    with engine.begin() as connection:
        outbox.table.drop(connection)
    async with relaying():
        await within(warned.wait())
        with engine.begin() as connection:
            outbox.create_table(connection)
        job_id = order(engine, 1, kind)
        await emptied(engine)
    assert await created(client, kind) == [job_id]


async def test_a_refused_row_is_kept_with_its_reason_and_stops_no_other(
    engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    first = order(engine, 1, kind)
    refused = order(engine, 2, kind, priority=11)
    too_large = order(engine, 3, kind, chunks=[{"text": "x" * 60_000}] * 100)
    last = order(engine, 4, kind)
    with engine.begin() as connection:  # what no server can read
        connection.execute(insert(outbox.table).values(outbox_row(b"\xff")))
    async with relaying():
        await emptied(engine)
        kept = rows(engine, refused_only=True)
        assert [(row.request.job_id, row.reason) for row in kept[:1]] == [(refused, "INVALID_FIELD")]
        assert "priority" in kept[0].message
        assert (kept[1].request.job_id, kept[1].refused) == (too_large, True)
        assert kept[2].reason == "INVALID_FIELD"
        with engine.begin() as connection:
            kept[0].request.priority = 7
            corrected = {"request": kept[0].request.SerializeToString()}
            connection.execute(update(outbox.table).where(outbox.table.c.position == kept[0].position), corrected)
            assert outbox.retry_rows(connection, [kept[0].position, 999]) == 1
        await emptied(engine)
    assert await created(client, kind) == [first, last, refused]
    assert len(rows(engine)) == 2


def outbox_row(request: bytes) -> dict[str, object]:
    return {
        "request": request, "generated_id": True, "chunk_count": 1, "create_time": 0, "due_time": 0, "attempts": 1,
        "refused": False,
    }  # fmt: skip


async def test_owners_have_quotas_of_their_own(
    engine: Engine, relaying: Relaying, store: str, tmp_path: Path, kind: str
):
    with shared_server(store, tmp_path) as shared:
        async with (
            shared.tenant("shop") as shop,
            shared.tenant("bank") as bank,
            AsyncJobClient(shared.server.target, api_key=shared.token) as admin,
        ):
            await admin.admin.set_quota("shop", max_unfinished_jobs=1)
            async with relaying(api_key=shop.token, target=shared.server.target):
                first, second = order(engine, 1, kind), order(engine, 2, kind)
                await emptied(engine)
            kept = rows(engine, refused_only=True)
            assert [(row.request.job_id, row.reason) for row in kept] == [(second, "QUOTA_EXCEEDED")]
            async with relaying(api_key=bank.token, target=shared.server.target):
                others = order(engine, 3, kind)
                await emptied(engine)
            async with relaying(api_key=shop.token, target=shared.server.target):
                await admin.admin.set_quota("shop", max_unfinished_jobs=2)
                with engine.begin() as connection:
                    assert outbox.retry_rows(connection) == 1
                await emptied(engine)
            for tenant, expected in ((shop, [first, second]), (bank, [others])):
                async with AsyncJobClient(shared.server.target, api_key=tenant.token) as client:
                    assert await created(client, kind) == expected


async def test_a_relay_without_a_valid_key_refuses_nothing(
    engine: Engine, relaying: Relaying, store: str, tmp_path: Path, kind: str, warned: asyncio.Event
):
    with shared_server(store, tmp_path) as shared:
        order(engine, 1, kind)
        async with relaying(api_key="none", target=shared.server.target):
            await within(warned.wait())
        assert [row.refused for row in rows(engine)] == [False]


@pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)
async def test_asynchronous_engines(
    database: str, engine: Engine, client: AsyncJobClient, relaying: Relaying, kind: str
):
    asynchronous = create_async_engine(database)
    async with asynchronous.begin() as connection:
        job_id = await connection.run_sync(outbox.create_job, kind, input={"n": 1})
    async with relaying(engine=asynchronous):
        await emptied(engine)
    await asynchronous.dispose()
    assert await created(client, kind) == [job_id]


def relay_process(database: str, server: Server) -> "subprocess.Popen[str]":
    command = [Path(sys.executable).with_name("jobledger"), "outbox", "relay", "--database", database]
    return subprocess.Popen(
        [*command, "--target", server.target], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.long
async def test_two_relays_that_are_killed_create_each_job_once(
    database: str, engine: Engine, start_server: StartServer, kind: str
):
    server = start_server()
    committed: list[str] = []
    done = threading.Event()

    def serve() -> None:
        for number in range(600):
            job_id = order(engine, number, kind, commit=number % 3 > 0)
            committed.extend([job_id] if number % 3 else [])
        done.set()

    service = threading.Thread(target=serve)
    service.start()
    kills = 0
    while not done.is_set() or kills < 6:
        relays = [relay_process(database, server) for _ in range(2)]
        before = waiting(engine)
        while waiting(engine) == before and not done.is_set():
            pass
        for relay in relays:
            relay.kill()
            relay.communicate(timeout=BOUND)
        kills += 1
        if kills % 3 == 0:
            server.kill()
            server.start()
        with engine.begin() as connection:
            connection.execute(EXPIRE)
    service.join()
    relays = [relay_process(database, server) for _ in range(2)]
    await emptied(engine)
    for relay in relays:
        relay.kill()
        relay.communicate(timeout=BOUND)
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        jobs = await created(client, kind)
    assert len(jobs) == len(set(jobs)) == 400
    assert set(jobs) == set(committed)
