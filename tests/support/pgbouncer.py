"""A real pgbouncer before the tests' PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.support.bounds import BOUND

PROGRAM = shutil.which("pgbouncer") or next((name for name in ["/usr/sbin/pgbouncer"] if Path(name).exists()), None)
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
_SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
logfile = {folder}/pgbouncer.log
default_pool_size = 20
max_client_conn = 200
"""


@contextmanager
def pooled(database: str, mode: str) -> Iterator[str]:
    """Give the URL of a database through a pgbouncer of a mode, with its defaults, for the length of the block."""
    url = make_url(database)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        own_port = listener.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="jobledger-pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    host, port = url.query["host"], url.query["port"]
    settings.write_text(
        _SETTINGS.format(host=host, port=port, user=url.username, own_port=own_port, mode=mode, folder=folder)
    )
    assert PROGRAM is not None
    words = [PROGRAM, "-q", str(settings)]
    if os.geteuid() == 0:  # it refuses to be run by root
        owner = Path(str(host)).owner()  # who alone may use PostgreSQL's socket
        shutil.chown(folder, owner)
        words[1:1] = ["-u", owner]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        through = url.set(host="127.0.0.1", port=own_port, query={})
        _wait_until_ready(through.set(drivername="postgresql").render_as_string(hide_password=False))
        yield through.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(BOUND)
        shutil.rmtree(folder)


def _wait_until_ready(address: str) -> None:
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        with suppress(psycopg.OperationalError):  # it does not listen yet
            psycopg.connect(address, connect_timeout=10).close()
            return
    raise AssertionError("pgbouncer does not answer")
