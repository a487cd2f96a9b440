"""Metrics by kind: as many as the operator wants, whatever kinds callers make."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.vitals import VitalsReader
from jobledger_service.core.model.service_kinds import ALL_KINDS
from jobledger_service.core.read.kind_figures import KindFigures, KindFiguresReader
from sqlalchemy import text

from tests.bulk.runs import create_many
from tests.conftest import StartServer
from tests.operate.conftest import Scrape, scrape_when
from tests.stats.test_many_kinds import rows_read, steps
from tests.support.api import Api, fresh_kind
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server

Connect = Callable[[Server], Api]
PENDING, CLAIMS, FAILED = (
    f"jobledger_kind_{name}" for name in ("chunks_pending", "claims_total", "attempts_failed_total")
)
OTHER = "(other)"
MANY_KINDS = """
INSERT INTO counts (owner, kind, state, jobs, chunks_pending, chunks_processing,
    chunks_limit, chunks_schedule, chunks_backoff, chunks_finalizer)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
SELECT owner, 'k' || n, 'QUEUED', 7, 7, 0, 0, 0, 0, 0 FROM numbers, (SELECT '' AS owner UNION SELECT 'me') AS owners
WHERE n >= :first
"""


def kinds(seen: Scrape, name: str = PENDING) -> set[str]:
    return {labels["kind"] for one, labels, _ in seen.samples if one == name}


async def test_the_largest_kinds_have_metrics_and_the_others_are_one(start_server: StartServer, connect: Connect):
    server = start_server(metrics_listen="127.0.0.1:0", metrics_kinds="2", MEASURE_SECONDS="0.05")
    api = connect(server)
    large, middle, small = (fresh_kind() for _ in range(3))
    await create_many(api, large, 12)
    others = await create_many(api, middle, 10)
    await create_many(api, small, 1)
    seen = scrape_when(server, lambda seen: seen.value(PENDING) == 23)
    assert kinds(seen) == {large, middle, OTHER}
    assert {kind: seen.value(PENDING, kind=kind) for kind in kinds(seen)} == {large: 12, middle: 10, OTHER: 1}
    assert seen.value("jobledger_kind_jobs_queued", kind=large) == 12
    assert 0 < seen.value("jobledger_kind_oldest_waiting_seconds", kind=large) < 3_600
    first, second = await api.claim(large, 2)
    await api.fail(first, not_retryable=True)
    await api.complete(second, progress={"artifacts": {"a": {"uri": "s3://b/x", "size_bytes": 9}}})
    await api.claim(small)
    seen = scrape_when(server, lambda seen: seen.value(CLAIMS, kind=OTHER) == 1)
    assert (seen.value(CLAIMS, kind=large), seen.value(FAILED, kind=large)) == (2, 1)
    deletions = [api.delete(job_id, force=True) for job_id in others]
    await asyncio.gather(*deletions)
    seen = scrape_when(server, lambda seen: middle not in kinds(seen))
    assert kinds(seen) == kinds(seen, CLAIMS) == {large, small, OTHER}, "a kind that has gone has no metrics"
    assert seen.value("jobledger_kind_chunks_processing", kind=small) == 1
    assert [seen.value("jobledger_kind_artifact_bytes", kind=shown) for shown in (large, small, OTHER)] == [9, 0, 0]


def observations(seen: Scrape, kind: str) -> dict[str, float]:
    """Return how often each histogram observed something of a kind."""
    names = ("job_duration_seconds", "attempt_duration_seconds", "job_waiting_seconds", "job_chunks")
    return {name: seen.value(f"jobledger_kind_{name}_count", kind=kind) for name in names}


async def test_durations_waits_and_chunks_are_observed_by_kind(start_server: StartServer, connect: Connect):
    server = start_server(metrics_listen="127.0.0.1:0", metrics_kinds="1", MEASURE_SECONDS="0.05")
    api = connect(server)
    large, small = (fresh_kind() for _ in range(2))
    await create_many(api, large, 12, item_count=4, chunk_size=1)
    before = scrape_when(server, lambda seen: kinds(seen) == {large, OTHER})
    await api.create(large, item_count=4, chunk_size=1)
    retried = await api.create(small, retry_policy={"max_attempts": 2, "initial_backoff": {}})
    for _ in range(2):
        [claimed] = await api.claim(small, wait={"seconds": 20})
        await api.fail(claimed)
    first, second = await api.claim(large, 2)
    await api.complete(first)
    await api.release(second)
    await api.cancel(first.job_id, force=True)
    seen = scrape_when(server, lambda seen: observations(seen, large)["job_duration_seconds"] == 1)
    for kind in large, OTHER:
        earlier = observations(before, kind)
        more = {name: count - earlier[name] for name, count in observations(seen, kind).items()}
        assert more == {
            "job_duration_seconds": 1,
            "attempt_duration_seconds": 2,
            "job_waiting_seconds": 1,
            "job_chunks": 1,
        }

    def more_chunks(name: str, kind: str, **labels: str) -> float:
        name = f"jobledger_kind_job_chunks_{name}"
        return seen.value(name, kind=kind, **labels) - before.value(name, kind=kind, **labels)

    assert (more_chunks("sum", large), more_chunks("sum", OTHER)) == (4, 1)
    assert [more_chunks("bucket", large, le=bound) for bound in ("3.0", "10.0", "+Inf")] == [0, 1, 1]
    stored = await api.get(retried.job_id)
    took = (stored.end_time.ToMicroseconds() - stored.start_time.ToMicroseconds()) / 1e6
    waited = (stored.start_time.ToMicroseconds() - stored.create_time.ToMicroseconds()) / 1e6
    assert seen.value("jobledger_kind_job_duration_seconds_sum", kind=OTHER) == pytest.approx(took)
    assert seen.value("jobledger_kind_job_waiting_seconds_sum", kind=OTHER) == pytest.approx(waited)


async def test_histograms_of_a_kind_observe_the_jobs_of_all_its_owners_once(
    start_server: StartServer, store: str, tmp_path: Path
):
    database = new_database(store, tmp_path)
    token = first_key(database)
    metrics = {"metrics_listen": "127.0.0.1:0", "metrics_kinds": "1", "MEASURE_SECONDS": "0.05"}
    server = start_server(database, auth="keys", **metrics)
    admin = KeyedApi(server.target, token)
    quiet, hostile = [
        KeyedApi(server.target, (await admin.make(CALLER, WORKER, owner=owner)).token) for owner in ("quiet", "hostile")
    ]
    shared = fresh_kind()
    held = await create_many(quiet, shared, 12)
    before = scrape_when(server, lambda seen: kinds(seen) == {shared, OTHER} and seen.value(PENDING) == len(held))
    ended = []
    for api in quiet, hostile:
        await api.create(shared)
        [claimed] = await api.claim(shared)
        await api.complete(claimed)
        ended.append(await api.get(claimed.job_id))
    for _ in range(5):  # kinds of its own: more than have metrics
        own = fresh_kind()
        await hostile.create(own)
        await hostile.fail(*await hostile.claim(own), not_retryable=True)
    names = ("job_duration_seconds", "attempt_duration_seconds", "job_waiting_seconds")
    seen = scrape_when(server, lambda seen: observations(seen, OTHER)["job_duration_seconds"] == 5)
    for kind, count in (shared, 2), (OTHER, 5):
        more = {name: observations(seen, kind)[name] - observations(before, kind)[name] for name in names}
        assert more == dict.fromkeys(names, count)
    took = [(job.end_time.ToMicroseconds() - job.start_time.ToMicroseconds()) / 1e6 for job in ended]
    assert seen.value("jobledger_kind_job_duration_seconds_sum", kind=shared) == pytest.approx(sum(took))
    assert seen.value("jobledger_kind_jobs_queued", kind=shared) == len(held)
    labels = [labels for name, labels, _ in seen.samples if name.startswith("jobledger_kind_")]
    assert {name for names in labels for name in names} <= {"kind", "le"}, "no label names an owner"
    for api in admin, quiet, hostile:
        await api.channel.close()


async def test_a_job_that_is_held_or_retried_does_not_look_old(start_server: StartServer, connect: Connect, kind: str):
    server = start_server(metrics_listen="127.0.0.1:0", MEASURE_SECONDS="0.05")
    api = connect(server)
    await api.create(kind, schedule_time={"seconds": 4_000_000_000})
    seen = scrape_when(server, lambda seen: seen.value("jobledger_kind_jobs_queued", kind=kind) == 1)
    assert seen.value("jobledger_kind_oldest_waiting_seconds", kind=kind) == 0
    await api.create(kind)
    scrape_when(server, lambda seen: seen.value("jobledger_kind_oldest_waiting_seconds", kind=kind) > 0)


@pytest.mark.guarantee("3b.2")
def test_a_hundred_thousand_kinds_of_one_owner_cost_metrics_and_health_no_more_rows(database: Database):
    reader = KindFiguresReader(database.dialect)

    def figures() -> dict[str, KindFigures]:
        with database.read() as connection:
            return reader.read(connection, 50)

    read, taken = [], []
    for first, last in ((1, 100), (101, 100_000)):
        with database.write() as connection:
            connection.execute(text(MANY_KINDS), {"first": first, "last": last})
        with rows_read(database) as rows:
            found = figures()
            VitalsReader(database).read()
        read.append(rows)
        if database.single_writer:
            taken.append((steps(database, figures), steps(database, VitalsReader(database).read)))
        assert len(found) == 51
        assert all(one.chunks_pending == 7 for kind, one in found.items() if kind != ALL_KINDS)
    assert read[0] == read[1]
    assert sum(read[1]) <= 50 * 3 + 20
    assert len({*taken}) <= 1, "SQLite does no more either"


def test_kinds_with_more_unfinished_jobs_come_first(database: Database):
    with database.write() as connection:
        connection.execute(text(MANY_KINDS), {"first": 1, "last": 20})
        connection.execute(text("UPDATE counts SET jobs = 100 WHERE kind = 'k13'"))
        connection.execute(text("UPDATE counts SET jobs = 90000, state = 'COMPLETED' WHERE kind = 'k14'"))
    reader = KindFiguresReader(database.dialect)
    with database.read() as connection:
        assert list(reader.read(connection, 2)) == ["k13", "k1", ALL_KINDS]
        assert "k14" in [*reader.read(connection, 20)][19:]
        assert list(reader.read(connection, 0)) == [ALL_KINDS]
