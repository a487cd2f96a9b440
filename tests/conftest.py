"""The fixtures of the black-box tests: servers over every store, and the API that speaks to them."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

# The tests start processes beside open channels; gRPC's own handlers of forks would look at these in the child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

# A timing never decides a test.
settings.register_profile("jobledger", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("jobledger")

# Processes that the tests start would ignore Ctrl-C where this one does, as when a shell has put it in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.support import server as servers  # noqa: E402 - its assertions are rewritten first
from tests.support.api import Api, fresh_kind  # noqa: E402
from tests.support.databases import STORES, new_database  # noqa: E402
from tests.support.server import Server  # noqa: E402

StartServer = Callable[..., Server]

# So that leases end, and bookmarks come, within a test: the defaults are for people.
# And so that a machine which stalls is no degraded server.
QUICK = {
    "log_format": "json", "duty_interval": "0.2", "expiry_delay": "0.1", "retention_interval": "1",
    "bookmark_interval": "0.5", "health_database_latency": "60",
    "health_commit_stall": "60",
}  # fmt: skip


# What is the same on every store, and so is tested on the first alone, with the reason.
ON_ONE_STORE = {
    "celery/": "Celery's workers see messages, not the store",
    "access/test_limits.py": "calls, watches and bytes are counted in the server",
    "access/test_tls.py": "connections know nothing of the store",
    "client/test_completed_means_ran.py": "handlers know nothing of the store",
    "client/test_fencing.py": "the worker's own clock knows nothing of the store",
    "client/test_message_sizes.py": "messages are bounded before the store",
    "client/test_worker_survives.py": "handlers know nothing of the store",
    "client/test_cli.py": "the command line sees messages, not the store",
    "client/test_cli_stats.py": "the command line sees messages, not the store",
    "client/test_export.py": "the SDK and the command line see messages, not the store",
    "client/test_imports.py": "the SDK and the command line see messages, not the store",
    "client/test_cli_errors.py": "the command line sees messages, not the store",
    "client/test_cli_outage.py": "the command line sees messages, not the store",
    "client/test_cli_many.py": "the command line sees messages, not the store",
    "client/test_docs.py": "the examples see messages, not the store",
    "examples/": "the examples see messages, not the store",
    "docs/": "the examples see messages, not the store",
    "isolation/test_watch_limits.py": "streams are counted in the server",
    "webhooks/test_addresses.py": "addresses are checked before anything is posted, whatever the store",
    "webhooks/test_answers.py": "what a receiver answers comes before the store",
    "webhooks/test_clients.py": "the SDK and the command line see messages, not the store",
    "webhooks/test_crash.py": "on PostgreSQL others take over from a server that died: webhooks/test_replicas.py",
    "isolation/test_overload.py": "what waits is bounded in the server",
    "foreign/": "a foreign client sees messages, not the store",
}


# What `make test` leaves to `make test-long`, with the reason; `make check` runs both.
LONG = {
    "access/test_limits.py::test_a_store_that_hangs": "a store of rates hangs",
    "access/test_limits.py::test_two_servers": "a store of rates goes away and comes back",
    "access/test_usage.py::test_the_first_key": "servers are stopped and started",
    "bulk/test_crash.py": "servers are killed while they work",
    "bulk/test_service_jobs.py": "runs are stopped, and leases of killed servers run out",
    "celery/test_losses.py": "workers and brokers are killed",
    "client/test_engine_runner.py::test_a_service_that_is_away": "servers are stopped and started",
    "client/test_replicas.py": "servers are killed and drained",
    "client/test_sdk.py::test_a_synchronous_watch_outlives": "servers are drained",
    "client/test_sdk.py::test_a_watch_outlives": "servers are stopped and started",
    "client/test_worker_stops.py": "servers are stopped and started",
    "contract/test_audit.py": "history and jobs are outlived",
    "contract/test_export_pinned.py": "servers are killed and drained while an export runs",
    "examples/test_programs.py": "whole examples run",
    "examples/test_transcoding.py": "a whole example runs",
    "isolation/test_catch_up.py": "megabytes are written, and servers are stopped and started",
    "limits/test_limits.py::test_limits_outlive": "servers are stopped and started",
    "removal/test_buckets.py": "object stores are started, and go away",
    "replicas/": "several servers over one database, which are killed, migrated, overloaded",
    "stats/test_mix.py": "random lives of jobs",
    "stats/test_running_totals.py::test_the_figures": "random lives of jobs",
    "stats/test_upgrade.py": "databases of an earlier version are migrated",
    "store/test_exporting.py": "many jobs are exported",
    "store/test_list_model.py": "random lists of a crowd of jobs",
    "store/test_list_plans.py": "100,000 jobs are made",
    "test_crash.py": "servers are killed under load",
    "test_server.py::test_a_drain": "servers are drained",
    "test_server.py::test_callers_that_go_on": "servers are drained",
    "test_server.py::test_what_was_written": "servers are stopped and started",
    "watch/test_end.py::test_a_draining": "servers are drained",
    "watch/test_guarantees.py::test_06_resumable": "servers are stopped and started",
    "watch/test_guarantees.py::test_10_bounded": "200 MB are written past watchers that do not read",
    "watch/test_resume.py": "servers are stopped and started, and their history is trimmed",
    "watch/test_slow_readers.py": "thousands of large messages",
    "webhooks/test_crash.py": "servers are killed while they deliver",
    "webhooks/test_failures.py": "receivers fail until they are given up",
    "webhooks/test_replicas.py": "servers are killed while they deliver",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what one store is enough for, and mark what is long."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(tuple(LONG)):
            item.add_marker("long")
    others = {item for item in items if _is_repeated(item)}
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]


def _is_repeated(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("store", STORES[0]) == STORES[0]:
        return False
    place = item.path.relative_to(Path(__file__).parent).as_posix()
    return any(place.startswith(prefix) for prefix in ON_ONE_STORE)


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
