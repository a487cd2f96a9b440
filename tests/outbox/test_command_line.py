"""`jobledger outbox`: the relay as a process, and the refused rows."""

import sys
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path

import pytest
from jobledger_client import JobClient, NewJob, outbox
from jobledger_client.outbox import _metrics, _store
from prometheus_client import generate_latest
from sqlalchemy import Engine

from tests.client.shell import Shell
from tests.outbox.conftest import SQLITE, Relaying, emptied, order, rows
from tests.support.server import Server

pytestmark = pytest.mark.one_store("a relay sees messages, not the store")
on_sqlite = pytest.mark.parametrize("database", [SQLITE], indirect=True)


@pytest.fixture
def shell(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("JOBLEDGER_TARGET", server.target)
    return Shell(server.target, capsys)


@on_sqlite
async def test_refused_rows_are_listed_and_retried(
    database: str, engine: Engine, relaying: Relaying, shell: Shell, kind: str
):
    job_id = order(engine, 1, kind, priority=11)
    other = order(engine, 2, kind, priority=12)
    listed = shell.json("outbox", "list", "--database", database, "--all")
    assert [(row["request"]["jobId"], row["refused"]) for row in listed] == [(job_id, False), (other, False)]
    async with relaying():
        await emptied(engine)
    assert "INVALID_FIELD" in shell("outbox", "list", "--database", database)
    listed = shell.json("outbox", "list", "--database", database)
    assert [(row["position"], row["reason"]) for row in listed] == [(1, "INVALID_FIELD"), (2, "INVALID_FIELD")]
    assert shell("outbox", "retry", "--database", database, "1") == "1 row will be sent again\n"
    assert [row.refused for row in rows(engine)] == [False, True]
    assert shell.json("outbox", "retry", "--database", database, "--all") == {"retried": 1}
    assert "pass positions, or --all" in shell("outbox", "retry", "--database", database, code=2)


@on_sqlite
def test_errors_of_the_database_are_sentences(database: str, shell: Shell, tmp_path: Path):
    assert "no such table" in shell("outbox", "list", "--database", f"sqlite:///{tmp_path / 'empty.db'}", code=74)
    assert "--database" in shell("outbox", "list", "--database", "nonsense", code=2)
    assert "pip install" in shell("outbox", "list", "--database", "mysql+mysqldb://x", code=78)


@on_sqlite
async def test_metrics(engine: Engine, relaying: Relaying, kind: str):
    order(engine, 1, kind)
    order(engine, 2, kind, priority=11)
    before = _metrics._sent._value.get(), _metrics._refused._value.get()
    async with relaying():
        await emptied(engine)
    assert (_metrics._sent._value.get(), _metrics._refused._value.get()) == (before[0] + 1, before[1] + 1)
    order(engine, 3, kind)
    with engine.begin() as connection:
        backlog = _store.backlog(connection)
    assert (backlog.waiting, backlog.refused) == (1, 1)
    _metrics.show(backlog)
    shown = generate_latest().decode()
    assert 'jobledger_outbox_rows{state="waiting"} 1.0' in shown
    assert 'jobledger_outbox_rows{state="refused"} 1.0' in shown
    assert "jobledger_outbox_oldest_seconds" in shown


@on_sqlite
def test_what_json_cannot_hold_is_refused_at_once(engine: Engine):
    with engine.begin() as connection:
        with pytest.raises(ValueError, match=r"input\.when: JSON has no datetime"):
            outbox.create_job(connection, "a.b", input={"when": datetime.now(UTC)})
        assert outbox.create_jobs(connection, []) == []
    assert rows(engine) == []


def test_the_parameters_are_those_of_the_client():
    of_client = [
        name for name in signature(JobClient.create_job).parameters if name not in {"validate_only", "timeout"}
    ]
    assert list(signature(outbox.create_job).parameters)[1:] == of_client[1:]
    assert list(signature(NewJob).parameters) == of_client[1:]


def test_the_module_reports_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("jobledger_client.outbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jobledger-client\[outbox\]'"):
        import jobledger_client.outbox  # noqa: F401, PLC0415  it is the import that fails
