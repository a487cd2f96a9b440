"""The faults do what they say: a log of SQLite is cut behind its last commit, never within what was acknowledged."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.torture.faults.crashes import cut_tail, end_of_commits


@pytest.fixture
def left_open(tmp_path: Path) -> Path:
    """Return a database as it is when its process dies in a transaction, with three commits and more in its log."""
    file, left = tmp_path / "begun.db", tmp_path / "left.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA cache_size=4")  # so that what is not committed spills into the log
        connection.execute("CREATE TABLE kept (content BLOB)")
        for _ in range(2):
            connection.execute("INSERT INTO kept VALUES (zeroblob(20000))")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (zeroblob(900000))")
        for suffix in ("", "-wal"):
            shutil.copy(f"{file}{suffix}", f"{left}{suffix}")
    return left


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_log_has_every_commit_and_nothing_else(left_open: Path, seed: int):
    log = left_open.with_name("left.db-wal")
    before = end_of_commits(log.read_bytes())
    assert cut_tail(log, Random(seed)) > 0
    assert log.stat().st_size >= before
    with closing(sqlite3.connect(left_open)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_log_without_a_commit_has_no_end():
    assert end_of_commits(b"") == end_of_commits(b"\0" * 5_000) == 0
