"""One SQLite file has one server: a second one is refused with a sentence, and the first one serves on."""

from collections.abc import Callable
from os import EX_CONFIG
from pathlib import Path

import pytest

from tests.operate.conftest import Start
from tests.support.api import Api
from tests.support.server import Server, run_command


@pytest.mark.one_store("several servers share a PostgreSQL database")
async def test_a_second_server_on_one_sqlite_file_is_refused(
    start_sqlite: Start, connect: Callable[[Server], Api], kind: str, tmp_path: Path
):
    server = start_sqlite()
    ran = run_command(tmp_path, "serve", "--database", server.database, "--listen", "127.0.0.1:0")
    assert (ran.returncode, ran.stdout) == (EX_CONFIG, "")
    assert ran.stderr.endswith("is open in another server; an SQLite database allows only one\n")
    assert (await connect(server).create(kind)).kind == kind
