"""Builds a world: databases, servers, owners with their keys, quotas and limits; and ends it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO

from jobledger.v1.admin_service_pb2 import SetQuotaRequest
from jobledger.v1.limit_scope_pb2 import LimitScope
from jobledger.v1.limit_service_pb2 import SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.fuzz.campaign import SETTINGS
from tests.support.clocks import DatabaseWithClock
from tests.support.cluster import NAME, Cluster
from tests.support.databases import new_database
from tests.support.forked import BEFORE, Forked
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.proxy import FaultyProxy
from tests.support.server import Server, running
from tests.torture import moments
from tests.torture.workload import LIMITED, MAX_RUNNING, QUOTA
from tests.torture.world import FaultLog, World

STORES = ["sqlite", "postgresql", "failover"]
OWNERS = ("alice", "bob")
HOSTILE = "mallory"
REPLICAS = {"sqlite": 1, "postgresql": 3, "failover": 2}


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner, its key, and a text that is in all its data and that no other owner may be told."""

    name: str
    token: str
    mark: str


class ArmedServer(Server):
    """A server that kills itself at the moment that its file names."""

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        armed = {BEFORE: moments.__name__, moments.MOMENT_FILE: str(moment_file(self))}
        armed[moments.CLOCK_FILE] = str(clock_file(self))
        return super().environment() | armed

    def _begun(self, arguments: list[str], log: IO[str]) -> Forked:
        return Forked(arguments, self.environment(), Path.cwd(), log)


def clock_file(server: Server) -> Path:
    """Return the file that says by how many seconds a server's clock is wrong."""
    return server.log.with_suffix(".clock")


def url_through(proxies: Sequence[FaultyProxy]) -> str:
    """Return the URL of the ledger through the proxies of all nodes."""
    hosts = "&".join(f"host={proxy.target}" for proxy in proxies)
    return f"postgresql+psycopg://postgres@/{NAME}?{hosts}&target_session_attrs=read-write"


def moment_file(server: Server) -> Path:
    """Return the file that names the moment at which a server is to die."""
    return server.log.with_suffix(".moment")


@asynccontextmanager
async def built(store: str, folder: Path, rng: Random) -> AsyncIterator[tuple[World, str]]:
    """Give a world whose servers run, and the token of its admin; end what is left of it. The folder exists."""
    cluster: Cluster | None = None
    world: World | None = None
    try:
        if store != "sqlite":
            cluster = await asyncio.to_thread(_cluster, store)
        proxies = [await FaultyProxy(f"127.0.0.1:{node.port}").open() for node in (cluster.nodes if cluster else ())]
        database = url_through(proxies) if cluster else new_database(store, folder)
        token = await asyncio.to_thread(first_key, database)
        log = FaultLog(folder / "faults.jsonl")
        world = World(store, folder, rng, database, log, SETTINGS | {"EXPIRY_DELAY_SECONDS": "0.1"})
        world.cluster = cluster
        if cluster is not None:
            # whichever node is the primary when it is called
            world.database_clock = DatabaseWithClock(lambda statement: cluster.primary.execute(statement, NAME))
        world.database_proxies.extend(proxies)
        world.servers.extend(ArmedServer(database, folder, world.settings) for _ in range(REPLICAS[store]))
        for server in world.servers:
            await asyncio.to_thread(server.start)
            world.client_proxies[server.target] = await FaultyProxy(server.target).open()
        yield world, token
    finally:
        for process in world.workers if world else ():
            process.kill()
            process.wait()
        for server in world.servers if world else ():
            if server in running:
                server.kill()
        for proxy in [*world.client_proxies.values(), *world.database_proxies] if world else ():
            await proxy.close()
        if cluster is not None:
            cluster.close()


def _cluster(store: str) -> Cluster:
    """Return a primary, with a synchronous standby if it is to fail over."""
    cluster = Cluster()
    if store == "failover":
        cluster.add_standby(synchronous=True)
    return cluster


async def make_owners(target: str, token: str, rng: Random) -> list[Owner]:
    """Make the owners, the hostile one last, with quotas and limits for the others."""
    admin, owners = KeyedApi(target, token), list[Owner]()
    for name in (*OWNERS, HOSTILE):
        mark = f"{name}-{rng.getrandbits(64):016x}"
        made = await admin.make(CALLER, WORKER, owner=name, name=mark)
        owners.append(Owner(name, made.token, mark))
    for name in OWNERS:
        await admin.admin.SetQuota(SetQuotaRequest(owner=name, max_unfinished_jobs=QUOTA))
        limit = SetLimitRequest(scope=LimitScope(kind=LIMITED), max_running=MAX_RUNNING, owner=name)
        await LimitServiceStub(admin.channel).SetLimit(limit)
    await admin.channel.close()
    return owners
