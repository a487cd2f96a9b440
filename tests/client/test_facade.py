"""What the package offers: these names, and those of the contract; a change belongs in the changelog."""

import ast
import inspect
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import jobledger_client
import pytest
from jobledger_client import AsyncJobClient, JobClient
from jobledger_client._generated import HOMES as GENERATED_HOMES
from jobledger_client._public import HOMES

from tests.support.bounds import BOUND

NOWHERE = "127.0.0.1:1"

OFFERED = [
    "TERMINAL_STATES",
    "AdminCalls",
    "AlreadyExistsError",
    "AsyncAdminCalls",
    "AsyncBulkCalls",
    "AsyncClock",
    "AsyncEngineTask",
    "AsyncExport",
    "AsyncExportCalls",
    "AsyncImportCalls",
    "AsyncJobCalls",
    "AsyncJobClient",
    "AsyncLeaseCalls",
    "AsyncLimitCalls",
    "AsyncPages",
    "AsyncResumingStream",
    "AsyncStatisticsCalls",
    "AsyncWatch",
    "AsyncWebhookCalls",
    "Backoff",
    "BulkCalls",
    "CancelBridge",
    "ChunkContext",
    "ChunkSpec",
    "ClientClosedError",
    "Clock",
    "ConnectionOptions",
    "CursorError",
    "DeadlineExceededError",
    "Dispatcher",
    "EngineRunner",
    "EngineTask",
    "Export",
    "ExportCalls",
    "FieldViolation",
    "FinalizerSpec",
    "ImportCalls",
    "InternalError",
    "InvalidReplyError",
    "JobCalls",
    "JobChanges",
    "JobClient",
    "JobFilterFields",
    "JobOutcome",
    "JobledgerError",
    "LeaseCalls",
    "Limit",
    "LimitCalls",
    "LimitError",
    "LimitScope",
    "NewJob",
    "NotFoundError",
    "NotRetryable",
    "Pages",
    "PausedKind",
    "PermissionDeniedError",
    "PreconditionError",
    "Relist",
    "ResumingStream",
    "RetryLater",
    "RetryPolicy",
    "Stage",
    "StatisticsCalls",
    "StopReason",
    "TaskToStop",
    "UnauthenticatedError",
    "UnavailableError",
    "Watch",
    "WebhookCalls",
    "Worker",
    "__version__",
    "for_each",
    "for_kind",
    "for_label",
]
"""What is not generated from the contract."""
GENERATED = [name for names in GENERATED_HOMES.values() for name in names.split()]
PUBLIC = sorted([*OFFERED, *GENERATED])


def test_the_package_offers_exactly_this():
    assert sorted(jobledger_client.__all__) == PUBLIC
    assert not set(PUBLIC) - set(dir(jobledger_client))
    shown = {name: getattr(jobledger_client, name) for name in dir(jobledger_client)}
    modules = {name for name, value in shown.items() if inspect.ismodule(value)}
    public = {name for name in shown if not name.startswith("_")}
    assert public - modules == set(PUBLIC) - {"__version__"}
    # The extras are modules of their own, seen here once another test has imported them.
    assert not {name for name in modules if not name.startswith("_")} - {"cli", "celery", "outbox", "testing"}


def test_what_the_types_say_is_where_the_names_are():
    tree = ast.parse(Path(jobledger_client.__file__).read_text())
    said = {
        (node.module, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    found = {(f"jobledger_client.{home}", name) for home, names in HOMES.items() for name in names.split()}
    assert said - {("jobledger_client", "_public")} == found


IMPORTS = """
import sys
import jobledger_client
assert not any(name.startswith(("grpc", "google", "asyncio")) for name in sys.modules)
from jobledger_client import JobClient
assert "jobledger_client._worker._worker" not in sys.modules
assert "opentelemetry" not in sys.modules
"""


def test_a_client_imports_nothing_of_workers_or_tracing():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=BOUND)


def test_public_names_live_in_the_public_module():
    classes = [value for value in (getattr(jobledger_client, name) for name in PUBLIC) if isinstance(value, type)]
    assert len(classes) > 60
    assert {one.__module__ for one in classes} == {"jobledger_client"}
    with JobClient(NOWHERE) as client:
        assert repr(client.webhooks).startswith("<jobledger_client.WebhookCalls object")
        with pytest.raises(jobledger_client.UnavailableError) as error:
            client.get_job("x", timeout=timedelta(seconds=0.1))
    assert "jobledger_client.UnavailableError: " in "".join(traceback.format_exception(error.value))


def calls(group: object) -> dict[str, list[str]]:
    """Return the public methods of a client or a group of calls, with their parameters."""
    members = inspect.getmembers(group, callable)
    return {name: list(inspect.signature(one).parameters) for name, one in members if not name.startswith("_")}


async def test_the_two_clients_have_the_same_calls():
    async with AsyncJobClient(NOWHERE) as asynchronous:
        with JobClient(NOWHERE) as synchronous:
            assert calls(asynchronous) == calls(synchronous)
            groups = [name for name in vars(synchronous) if not name.startswith("_")]
            assert len(groups) == 9
            for name in groups:
                assert calls(getattr(asynchronous, name)) == calls(getattr(synchronous, name))
            for name, parameters in calls(synchronous.jobs).items():
                assert calls(synchronous)[name] == parameters, "each call on jobs is a method of the client, too"
