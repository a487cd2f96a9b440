"""Clients of several replicas: they go on at another when one goes away, drained or killed."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from jobledger_client import AsyncJobClient, ChunkContext, JobClient, JobState
from jobledger_client._channel import channel_options, channel_target

from tests.client.conftest import Serving
from tests.conftest import QUICK
from tests.support.bounds import CALL_TIMEOUT
from tests.support.databases import new_database
from tests.support.server import Server

pytestmark = [
    pytest.mark.long,  # servers are killed and drained
    pytest.mark.one_store("the servers share a PostgreSQL of their own"),
]

End = Callable[[Server], object]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Server]]:
    """Return two servers over one PostgreSQL."""
    database = new_database("postgresql", tmp_path)
    both = [Server(database, tmp_path, QUICK).start() for _ in range(2)]
    yield both
    for server in both:
        server.kill()


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name be known, without asking the network."""
    known = partial(socket.getaddrinfo, flags=socket.AI_NUMERICHOST)
    monkeypatch.setattr(socket, "getaddrinfo", known)


def targets(pair: list[Server]) -> str:
    return ",".join(server.target for server in pair)


ENDS = pytest.mark.parametrize("end", [Server.kill, Server.stop], ids=["killed", "drained"])


@ENDS
async def test_calls_watches_and_workers_continue_at_another_replica(
    pair: list[Server], serving: Serving, kind: str, end: End
):
    """Each replica goes away in its turn, so that none of them can have been the one that nobody used."""
    wanted = asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        ctx.progress(items_completed=1)
        await wanted.wait()

    async with AsyncJobClient(targets(pair), timeout=CALL_TIMEOUT) as client:
        job = (await client.create_job(kind, item_count=2, chunk_size=1)).job
        async with serving({kind: handler}, targets(pair)), client.watch(job.job_id, timeout=CALL_TIMEOUT) as messages:
            revisions = [(await anext(messages)).job.revision]
            for one in pair:
                await asyncio.to_thread(end, one)
                revision = (await client.update_job(job.job_id, labels={"away": one.target.replace(":", ".")})).revision
                async for message in messages:
                    revisions.append(message.job.revision)
                    if message.job.revision >= revision:
                        break
                await asyncio.to_thread(one.start)
            wanted.set()
            revisions += [message.job.revision async for message in messages]
        assert (await client.get_job(job.job_id)).state == JobState.COMPLETED
    assert revisions == sorted(set(revisions))


def test_the_synchronous_client_continues_at_another_replica(pair: list[Server], kind: str):
    with JobClient(targets(pair), timeout=CALL_TIMEOUT) as client:
        jobs = [client.create_job(kind).job.job_id]
        for one in pair:
            one.kill()
            assert client.get_job(jobs[0]).job_id == jobs[0]
            jobs.append(client.create_job(kind).job.job_id)
            one.start()
        assert sorted(job.job_id for job in client.list_jobs(kinds=[kind])) == sorted(jobs)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("dns:///jobledger:7070", "dns:///jobledger:7070"),
        ("10.0.0.1:1, 10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("10.0.0.1:1,10.0.0.1:1", "ipv4:10.0.0.1:1"),
        ("[::1]:1,[fe80::2]:2", "ipv6:[::1]:1,[fe80::2]:2"),
        ("10.0.0.1:1,[::1]:2", "ipv6:[::ffff:10.0.0.1]:1,[::1]:2"),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("10.0.0.1:1,nowhere.invalid:2", "ipv4:10.0.0.1:1"),
    ],
)
def test_several_addresses_become_one_list(no_names: None, target: str, expected: str):
    assert channel_target(target) == expected


@pytest.mark.parametrize("target", ["10.0.0.1:1,10.0.0.2", "a:1,", "nowhere.invalid:1,elsewhere.invalid:2"])
def test_a_list_that_cannot_be_is_refused_with_what_is_wrong(no_names: None, target: str):
    with pytest.raises(ValueError, match="target must"):
        AsyncJobClient(target)


def test_one_address_has_no_balancing_and_options_go_before_ours():
    assert "grpc.service_config" not in dict(channel_options("127.0.0.1:7070", ()))
    assert "round_robin" in str(dict(channel_options("dns:///a:1", ()))["grpc.service_config"])
    assert dict(channel_options("a:1,b:2", ()))["grpc.default_authority"] == "a:1"
    assert dict(channel_options("a:1,b:2", [("grpc.service_config", "{}")]))["grpc.service_config"] == "{}"
