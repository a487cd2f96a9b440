"""A MariaDB for this process, where Debian's is installed."""

import atexit
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text

from tests.support.bounds import BOUND

PROGRAM = shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def empty_mariadb() -> str:
    """Return the URL of a new database without tables."""
    name = f"jobledger_{uuid4().hex}"
    engine = create_engine(_url(_socket()))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return _url(_socket(), name)


def _url(path: Path, name: str = "") -> str:
    return f"mysql+pymysql://root@/{name}?unix_socket={path}"


@cache
def _socket() -> Path:
    """Start a MariaDB without system tables, which take long to make, and return the path of its socket."""
    assert PROGRAM is not None
    directory = Path(tempfile.mkdtemp(prefix="jobledger-mariadb-"))
    data, path, log = directory / "data", directory / "socket", directory / "log"
    data.mkdir()
    settings = ["--skip-networking", "--skip-grant-tables", "--user=root", "--innodb-flush-log-at-trx-commit=0"]
    with log.open("w") as file:
        command = [PROGRAM, "--no-defaults", f"--datadir={data}", f"--socket={path}", *settings]
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def end() -> None:
        server.kill()
        server.wait(BOUND)
        shutil.rmtree(directory)

    atexit.register(end)
    while server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(path))
            return path
    raise AssertionError(log.read_text())
