"""Health follows the object stores below which artifacts may be deleted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path

import pytest

from tests.bulk.runs import deleting_in
from tests.operate.test_health import system_health
from tests.removal.bucket_stores import S3, BucketStore, Gs
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.databases import new_database

STORES = 8
pytestmark = pytest.mark.long  # object stores are started, and go away


async def problems(api: Api, *, some: bool) -> list[str]:
    """Return the problems of the stores when there are some, or when there are none."""
    while True:
        found = (await system_health(api)).components
        told = [one.problem for one in found if one.problem]
        if found and bool(told) is some:
            return told


@pytest.mark.parametrize("driver", [S3, Gs])
async def test_a_bucket_that_is_away_degrades_until_it_is_back(
    driver: type[BucketStore], tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    buckets = driver(tmp_path)
    buckets.fill("media", "x")
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    roots = f"{buckets.scheme}://media/out/ {buckets.scheme}://absent/"
    with deleting_in(roots, new_database("sqlite", tmp_path), tmp_path, PROBE_INTERVAL_SECONDS="0.1") as server:
        api = connect(server)
        assert await problems(api, some=True) == ["the bucket absent is not there"]
        buckets.fill("absent", "x")
        assert await problems(api, some=False) == []
        buckets.kill()
        assert await problems(api, some=True)
        buckets.start()
        for name in ("media", "absent"):  # it keeps nothing
            buckets.fill(name, "x")
        assert await problems(api, some=False) == []
    buckets.kill()


@asynccontextmanager
async def store_that_never_ends_an_answer() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the address of a store that begins each answer and adds a header now and then; and what it was asked."""
    asked: list[bytes] = []
    answers: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in count():  # no time-out between two reads ends this
                writer.write(b"x-%d: y\r\n" % number)
                await writer.drain()
                await asyncio.sleep(0.5)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.add(asyncio.ensure_future(answer(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for one in answers:
            one.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


@pytest.mark.guarantee("3b.5")
async def test_stores_that_never_end_an_answer_are_told_in_time_and_hold_up_nothing(
    tmp_path: Path, connect: Connect, kind: str, monkeypatch: pytest.MonkeyPatch
):
    roots = " ".join(f"s3://bucket-{number}/out/" for number in range(STORES))
    async with store_that_never_ends_an_answer() as (address, asked):
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(name, value)
        with deleting_in(roots, new_database("sqlite", tmp_path), tmp_path, PROBE_INTERVAL_SECONDS="0.1") as server:
            api = connect(server)
            while len(asked) < STORES:  # while all hang, the server does its work and says how it is
                await system_health(api)
                await api.create(kind)
            told = await problems(api, some=True)
            while len(told) < STORES:
                told = await problems(api, some=True)
            assert all("has not answered within 5 s" in one for one in told)
            for _ in range(20):
                await api.create(kind)
                assert len(await problems(api, some=True)) == STORES
            assert len(asked) == STORES, "no store is asked again while it owes an answer"
