"""A restored database is a new epoch: what callers carry from before it is refused, whatever is written after."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from click.testing import Result
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.worker_service_pb2 import ClaimedChunk
from jobledger_service.cli import main as cli
from typer.testing import CliRunner

from tests.conftest import QUICK
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.postgres import address, run_program
from tests.support.server import Server
from tests.support.states import CHUNK_PENDING, COMPLETED, LEASE_LOST, OK

Connect = Callable[[Server], Api]
AT_ONCE = {"initial_backoff": timedelta(0)}
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.cli, list(words))


def backed_up(database: str, directory: Path) -> str:
    """Return the file of a back-up, made as the documentation says."""
    file = str(directory / "backup")
    if database.startswith("sqlite"):
        assert run("backup", file, "--database", database).exit_code == 0
    else:
        run_program("pg_dump", "--format=custom", f"--file={file}", address(database))
    return file


def restored(backup: str, lost: str, directory: Path) -> str:
    """Return a database made of a back-up as the documentation says, on PostgreSQL in place of what is there."""
    if lost.startswith("postgresql"):
        run_program("pg_restore", "--clean", "--if-exists", f"--dbname={address(lost)}", backup)
        printed = run("new-epoch", "--database", lost)
        assert printed.exit_code == 0, printed.output
        return lost
    database = f"sqlite:///{directory / 'restored.db'}"
    printed = run("restore", backup, "--database", database)
    assert printed.exit_code == 0, printed.output
    return database


class Carried:
    """What a caller, a watcher and a worker carried away from a server."""

    def __init__(self, job_id: str, claimed: ClaimedChunk, page_token: str, cursor: bytes) -> None:
        self.job_id = job_id
        self.claimed = claimed
        self.page_token = page_token
        self.cursor = cursor

    @classmethod
    async def away(cls, api: Api, kind: str) -> "Carried":
        """Create a job of two chunks, claim one, and remember all tokens."""
        job = await api.create(kind, item_count=2, chunk_size=1, retry_policy=AT_ONCE)
        [claimed] = await api.claim(kind, worker="before", lease_duration=timedelta(seconds=1))
        listed = await api.list_chunks(job.job_id, page_size=1)
        async with api.watch_job(job.job_id) as watch:
            cursor = (await watch.message()).cursor
        return cls(job.job_id, claimed, listed.next_page_token, cursor)

    async def is_refused(self, api: Api) -> None:
        """Hold that none of it is taken."""
        with refused(INVALID_ARGUMENT, "FOREIGN_CURSOR", "cursor"):
            async with api.watch_jobs(cursor=self.cursor) as watch:
                await watch.message()
        with refused(INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.list_chunks(self.job_id, page_token=self.page_token, page_size=1)
        assert (await api.report(self.claimed, percent=50)).status == LEASE_LOST
        assert (await api.complete(self.claimed))[0].status == LEASE_LOST


@pytest.mark.guarantee("3d.5")
@pytest.mark.long
async def test_what_was_carried_from_before_a_restore_is_refused_for_ever(
    store: str, connect: Connect, kind: str, tmp_path: Path
):
    first = Server(new_database(store, tmp_path), tmp_path, QUICK).start()
    held = await Carried.away(connect(first), kind)  # in the back-up
    assert first.stop() == 0
    backup = backed_up(first.database, tmp_path)
    first.start()
    lost = await Carried.away(connect(first), f"{kind}.lost")  # after it
    assert first.stop() == 0

    second = Server(restored(backup, first.database, tmp_path), tmp_path, QUICK).start()
    api = connect(second)
    # The same keys and positions come again, with leases of the same numbers.
    again = await api.create(f"{kind}.lost", job_id=lost.job_id, item_count=2, chunk_size=1)
    [current] = await api.claim(f"{kind}.lost", worker="after")
    for _ in range(20):
        await api.create(f"{kind}.other")
    await held.is_refused(api)
    await lost.is_refused(api)
    assert (await api.get(again.job_id)).chunks[0].worker == "after"
    assert (await api.complete(current))[0].status == OK
    await lost.is_refused(api)
    assert second.stop() == 0
    assert second.defects() == []


@pytest.mark.long
async def test_a_chunk_that_was_held_at_the_back_up_is_claimable_when_its_lease_is_over(
    store: str, connect: Connect, kind: str, tmp_path: Path
):
    first = Server(new_database(store, tmp_path), tmp_path, QUICK).start()
    held = await Carried.away(connect(first), kind)
    assert first.stop() == 0
    backup = backed_up(first.database, tmp_path)
    second = Server(restored(backup, first.database, tmp_path), tmp_path, QUICK).start()
    api = connect(second)
    async with api.watch_job(held.job_id) as watch:
        message = await watch.until(
            lambda message: (
                message.job.chunks_summary.pending == 2
                or any(one.type == ChangeType.CHANGE_TYPE_LEASE_EXPIRED for one in message.event.changes)
            )
        )
    assert message.job.chunks_summary.processing == 0
    assert (await api.get(held.job_id)).chunks[0].state == CHUNK_PENDING
    assert {result.status for result in await api.complete(*await api.claim(kind, 2))} == {OK}
    assert (await api.get(held.job_id)).state == COMPLETED
    assert second.stop() == 0


@pytest.mark.long
def test_a_new_epoch_is_refused_while_servers_run(store: str, tmp_path: Path):
    server = Server(new_database(store, tmp_path), tmp_path, QUICK).start()
    printed = run("new-epoch", "--database", server.database)
    assert printed.exit_code == 78
    assert "is open in another server" in printed.stderr if store == "sqlite" else "stop them first" in printed.stderr
    assert server.stop() == 0
    assert run("new-epoch", "--database", server.database).exit_code == 0


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Return a back-up of an empty ledger."""
    database = f"sqlite:///{tmp_path / 'source.db'}"
    assert run("migrate", "--database", database).exit_code == 0
    return Path(backed_up(database, tmp_path))


@pytest.mark.parametrize("there", ["new.db", "new.db-wal", "new.db-shm", "new.db-journal"])
def test_nothing_is_restored_over_what_is_there(backup: Path, tmp_path: Path, there: str):
    precious = tmp_path / there
    precious.write_text("precious")
    printed = run("restore", str(backup), "--database", f"sqlite:///{tmp_path / 'new.db'}")
    assert printed.exit_code == 1
    assert f"{there} exists" in printed.stderr
    assert precious.read_text() == "precious"


def test_a_restore_leaves_the_back_up_as_it_is_and_nothing_beside_the_database(backup: Path, tmp_path: Path):
    backup.chmod(0o640)
    before, target = backup.read_bytes(), tmp_path / "there"
    target.mkdir()
    assert run("restore", str(backup), "--database", f"sqlite:///{target / 'new.db'}").exit_code == 0
    assert backup.read_bytes() == before
    assert {path.name: path.stat().st_mode & 0o777 for path in target.iterdir()} == {"new.db": 0o640}
    epochs = []
    for file in (backup, target / "new.db"):
        with closing(sqlite3.connect(file)) as connection:
            epochs.append(connection.execute("SELECT epoch, token_secret FROM ledger").fetchone())
    (first, secret), (second, other) = epochs
    assert first != second
    assert secret != other


@pytest.mark.parametrize(
    ("database", "word"),
    [
        ("postgresql+psycopg://me:hunter2@db.example/jobs", "jobledger-server new-epoch"),
        ("nonsense", "value 'nonsense' must be a database URL"),
    ],
)
def test_what_cannot_be_restored_is_reported(backup: Path, database: str, word: str):
    printed = run("restore", str(backup), "--database", database)
    assert printed.exit_code == 78
    assert word in printed.stderr
    assert "hunter2" not in printed.output


def test_a_damaged_back_up_is_not_restored(backup: Path, tmp_path: Path):
    damaged = tmp_path / "damaged.db"
    shutil.copy(backup, damaged)
    raw = bytearray(damaged.read_bytes())
    raw[8_192:-4_096] = bytes(len(raw) - 12_288)
    damaged.write_bytes(raw)
    printed = run("restore", str(damaged), "--database", f"sqlite:///{tmp_path / 'new.db'}")
    assert printed.exit_code == 1
    assert not (tmp_path / "new.db").exists()
    assert not list(tmp_path.glob(".new*"))
