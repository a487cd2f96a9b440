"""A back-up taken while a server writes is whole, holds what was acknowledged before it, and knows its place."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from click.testing import Result
from jobledger_service.cli import main as cli
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance import backup
from jobledger_service.core.database.maintenance.migrate import upgrade
from typer.testing import CliRunner

from tests.conftest import QUICK
from tests.operate.conftest import Start
from tests.operate.test_metrics import Connect
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.errors import refused
from tests.support.server import Server

BEFORE = 50


def run(database: str, file: Path) -> Result:
    return CliRunner().invoke(cli.cli, ["backup", str(file), "--database", database])


class Writers:
    """Create one job after the other, and note those that were acknowledged."""

    def __init__(self, api: Api, kind: str) -> None:
        self._api = api
        self._kind = kind
        self._news = asyncio.Condition()
        self.acknowledged: list[str] = []

    async def write(self) -> None:
        while True:
            self.acknowledged.append((await self._api.create(self._kind)).job_id)
            async with self._news:
                self._news.notify_all()

    async def more(self, count: int) -> None:
        """Wait until so many more writes were acknowledged."""
        enough = len(self.acknowledged) + count
        async with asyncio.timeout(BOUND), self._news:
            await self._news.wait_for(lambda: len(self.acknowledged) >= enough)


async def test_a_restored_back_up_has_what_was_acknowledged_before_it(
    start_sqlite: Start, connect: Connect, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 4)  # many steps, with commits between them
    source = start_sqlite()
    api, copy = connect(source), tmp_path / "copy.db"
    writers = Writers(api, kind)
    load = [asyncio.create_task(writers.write()) for _ in range(4)]
    await writers.more(BEFORE)
    before = list(writers.acknowledged)
    made = await asyncio.to_thread(run, source.database, copy)
    assert made.exit_code == 0, made.output
    assert "100 %" in made.stderr
    await writers.more(BEFORE)
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)
    async with api.watch_jobs(kind) as watch:
        ahead = (await watch.bookmark()).cursor
    assert not leftovers(tmp_path)

    restored = Server(f"sqlite:///{copy}", tmp_path, QUICK).start()
    api = connect(restored)
    found = await api.batch_get(job_ids=before)
    assert {job.job_id for job in found.jobs} == set(before)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(writers.acknowledged[-1])
    with refused(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_LOST"):
        async with api.watch_jobs(kind, cursor=ahead) as watch:
            await watch.message()
    assert restored.stop() == 0


def leftovers(directory: Path) -> list[Path]:
    """Return what is left of copies that are not whole."""
    return list(directory.glob(".copy*"))


def test_nothing_is_overwritten(tmp_path: Path):
    there, source = tmp_path / "there.db", tmp_path / "source.db"
    there.write_text("precious")
    source.touch()
    made = run(f"sqlite:///{source}", there)
    assert made.exit_code == 1
    assert "there.db exists already" in made.stderr
    assert there.read_text() == "precious"


def test_a_damaged_database_gives_no_back_up(tmp_path: Path):
    damaged, copy = tmp_path / "damaged.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(damaged)) as connection, connection:
        connection.execute("CREATE TABLE ledger (position INTEGER)")
        connection.execute("INSERT INTO ledger VALUES (1)")
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.execute("CREATE INDEX i ON t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(f"{n:04}",) for n in range(2_000)])
    raw = bytearray(damaged.read_bytes())
    raw[-6_000:-2_000] = bytes(4_000)
    damaged.write_bytes(raw)
    made = run(f"sqlite:///{damaged}", copy)
    assert made.exit_code == 1
    assert "damaged" in made.stderr or "malformed" in made.stderr
    assert not copy.exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("database", "status", "word"),
    [
        ("postgresql+psycopg://me:hunter2@db.example/jobs", 78, "pg_dump --format=custom --file=jobledger.dump 'postgresql://me@db.example/jobs'"),
        ("sqlite:///nowhere.db", 78, "nowhere.db is not a file"),
        ("nonsense", 78, "value 'nonsense' must be a database URL"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied_is_reported(database: str, status: int, word: str, tmp_path: Path):
    made = run(database, tmp_path / "copy.db")
    assert made.exit_code == status
    assert word in made.stderr
    assert "hunter2" not in made.output


def test_a_new_database_is_its_owners_alone(tmp_path: Path):
    with closing(open_database(f"sqlite:///{tmp_path / 'new.db'}")) as database:
        upgrade(database)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("new.db*") if path.suffix != ".lock"}
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_who_may_not_read_the_database_may_not_read_its_copy(tmp_path: Path, mode: int):
    source, copy = tmp_path / "source.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE ledger (position INTEGER)")
        connection.execute("INSERT INTO ledger VALUES (1)")
    source.chmod(mode)
    made = run(f"sqlite:///{source}", copy)
    assert made.exit_code == 0, made.output
    assert copy.stat().st_mode & 0o777 == mode


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path):
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE ledger (position INTEGER)")
    made = run(f"sqlite:///{source}", tmp_path / "nowhere" / "copy.db")
    assert made.exit_code == 1
    assert "nowhere/copy.db could not be written: No such file or directory" in made.stderr
