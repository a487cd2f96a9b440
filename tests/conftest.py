"""The fixtures of the black-box tests: servers over every store, and the API that speaks to them."""

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

# The tests start processes beside open channels; gRPC's own handlers of forks would look at these in the child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import pytest
import structlog
from hypothesis import HealthCheck, settings
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

pytest.register_assert_rewrite("tests.support")

gc.disable()  # until the tests are collected: what that makes stays

# A timing never decides a test.
settings.register_profile("jobledger", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("jobledger"), max_examples=10)  # `make test-fast` names it
settings.load_profile("jobledger")

# Tests that run the server's code in this process log by structlog's defaults, whose tracebacks show the locals of each
# frame: one takes seconds.
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])

# Processes that the tests start would ignore Ctrl-C where this one does, as when a shell has put it in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.support import server as servers  # noqa: E402 - its assertions are rewritten first
from tests.support.api import Api, fresh_kind  # noqa: E402
from tests.support.databases import STORES, new_database  # noqa: E402
from tests.support.postgres import listening  # noqa: E402
from tests.support.server import Server  # noqa: E402

StartServer = Callable[..., Server]

# So that leases end, and bookmarks come, within a test: the defaults are for people.
# And so that a server is neither degraded nor overloaded because its machine stalls.
QUICK = {
    "log_format": "json", "DUE_SCAN_SECONDS": "0.2", "EXPIRY_DELAY_SECONDS": "0.1", "TRIM_SECONDS": "1",
    "BOOKMARK_SECONDS": "0.5", "queue_wait": "60", "SLOW_READ_SECONDS": "60", "COMMIT_STALL_SECONDS": "60",
}  # fmt: skip
WITHOUT_POLLS = {"CLAIM_POLL_SECONDS": "3600"}
"""With this, waiting claims look again only when they are woken: what they get proves that they were."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --store and --guarantee."""
    parser.addoption(
        "--store",
        action="append",
        choices=[*STORES, "both"],
        help="a store to run the tests on, may be given twice; SQLite alone unless given",
    )
    parser.addoption(
        "--guarantee",
        metavar="NUMBER",
        help="run the tests of one guarantee of docs/guarantees.md, such as 3b.2, or of a chapter, such as 3b",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the stores and the guarantee that were asked for, one store where one is enough; mark what is fast."""
    requested = config.getoption("--store") or STORES[:1]
    stores = STORES if "both" in requested else [store for store in STORES if store in requested]
    number = config.getoption("--guarantee")
    others = {item for item in items if not (_runs_on(item, stores) and (not number or _checks(item, number)))}
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]
    for item in items:
        if _is_fast(item):
            item.add_marker("fast")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, which is most of what there is, and stays."""
    gc.freeze()
    gc.enable()


def _runs_on(item: pytest.Item, stores: list[str]) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or "store" not in callspec.params:
        return True
    enough = stores[:1] if item.get_closest_marker("one_store") else stores
    return callspec.params["store"] in enough


def _checks(item: pytest.Item, number: str) -> bool:
    """Whether a test checks a guarantee, or one of a chapter."""
    marked = [each for mark in item.iter_markers("guarantee") for each in mark.args]
    return any(each == number or each.startswith(f"{number}.") for each in marked)


def _is_fast(item: pytest.Item) -> bool:
    """Whether a test takes no time: those that start a process need a directory or a broker, or are marked."""
    starts_process = not {"tmp_path", "tmp_path_factory", "broker"}.isdisjoint(getattr(item, "fixturenames", ()))
    return not (starts_process or item.get_closest_marker("slow") or item.get_closest_marker("long"))


@pytest.fixture(scope="session", params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """Return the store that the tests run on."""
    return request.param


@pytest.fixture(scope="session")
def server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the server that the tests share; each keeps to its own kinds and job ids."""
    directory = tmp_path_factory.mktemp("server")
    shared = Server(new_database(store, directory), directory, QUICK | {"metrics_listen": "127.0.0.1:0"}).start()
    yield shared
    assert shared.stop() == 0
    assert shared.defects() == [], "the server logged what should never happen"


@pytest.fixture(scope="session")
def replicas(server: Server, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return all servers over the shared database: one on SQLite, which has no more, and two on PostgreSQL."""
    if store == "sqlite":
        yield [server]
        return
    second = Server(server.database, tmp_path_factory.mktemp("second"), QUICK).start()
    yield [server, second]
    assert second.stop() == 0
    assert second.defects() == [], "the second server logged what should never happen"


@pytest.fixture(scope="session")
def woken(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return servers, two on PostgreSQL, whose waiting claims get nothing unless they are woken."""
    directory = tmp_path_factory.mktemp("woken")
    database = new_database(store, directory)
    count = 1 if store == "sqlite" else 2
    replicas = [Server(database, directory, QUICK | WITHOUT_POLLS).start() for _ in range(count)]
    while store == "postgresql" and listening(database) < len(replicas):
        pass
    yield replicas
    assert [one.stop() for one in replicas] == [0] * len(replicas)
    assert [one.defects() for one in replicas] == [[]] * len(replicas)


@pytest.fixture
def start_server(store: str, tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts a server of the test's own, on a new database unless it is given one."""
    started: list[Server] = []

    def start(database: str = "", **settings: str) -> Server:
        started.append(Server(database or new_database(store, tmp_path), tmp_path, QUICK | settings))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def database(store: str, tmp_path: Path) -> Iterator[Database]:
    """Return a new database without a server, open and with its tables."""
    with closing(open_database(new_database(store, tmp_path))) as opened:
        upgrade(opened)
        yield opened


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Server], Api]]:
    """Return a function that opens a channel to a server, closed after the test."""
    channels: list[grpc.aio.Channel] = []

    def open_channel(server: Server, **options: int) -> Api:
        # Without a pool of its own a channel shares its connection, and its backoff after a restart, with others.
        settings = {"grpc.use_local_subchannel_pool": 1, "grpc.initial_reconnect_backoff_ms": 100} | options
        channels.append(grpc.aio.insecure_channel(server.target, options=list(settings.items())))
        return Api(channels[-1])

    yield open_channel
    for channel in channels:
        await channel.close()


@pytest.fixture
def api(connect: Callable[[Server], Api], server: Server) -> Api:
    """Return the API of the shared server."""
    return connect(server)


@pytest.fixture
def kind() -> str:
    """Return a kind that no other test uses."""
    return fresh_kind()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of each running server's log under a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(f"log of the server at {one.target}", one.tail()) for one in servers.running]
    return report
