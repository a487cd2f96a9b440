"""The hosts of the databases: network namespaces where we may make them, else processes that proxies lead to."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from .silent_proxy import HERE, SilentProxy

UNPRIVILEGED = 65534
"""Whom the databases take us for when we are root, by whom PostgreSQL refuses to be run: Linux's nobody."""
BRIDGE = "jobledger-ha"
NETWORK = "10.77.0"
PATIENCE: Final = 30.0
"""Seconds for killed processes to be gone."""


@dataclass
class Host:
    """Where one database runs: a name, an address, a folder, and what was started there.

    Unless it is a namespace, all that its processes and others say to each other goes through proxies.
    """

    name: str
    address: str
    is_namespace: bool
    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    proxies: list[SilentProxy] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.folder.with_suffix(".log")

    def start(self, command: Sequence[str | Path]) -> None:
        """Start a process on this host, whose command names the host's folder."""
        words: list[str | Path] = list(command)
        if os.geteuid() == 0:
            words = ["unshare", "--user", f"--map-user={UNPRIVILEGED}", f"--map-group={UNPRIVILEGED}", *words]
        if self.is_namespace:
            words = ["ip", "netns", "exec", self.name, *words]
        with self.log.open("a") as output:
            self.processes.append(subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True))

    def kill(self) -> None:
        """SIGKILL every process of the host, all at once."""
        end = time.monotonic() + PATIENCE
        while running := self._running():
            if time.monotonic() > end:
                raise SystemExit(f"still running after SIGKILL: {', '.join(str(process) for process in running)}")
            for send in (psutil.Process.suspend, psutil.Process.kill):  # stopped first, so that none starts another one
                for process in running:
                    with suppress(psutil.NoSuchProcess):
                        send(process)
            psutil.wait_procs(running, timeout=1.0)
        self.processes.clear()

    def _running(self) -> list[psutil.Process]:
        """Find its processes; PostgreSQL is not Patroni's child, so that it survives a Patroni that dies."""
        named = [
            process
            for process in psutil.process_iter(["cmdline", "status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE
            and any(str(self.folder) in word for word in process.info["cmdline"] or ())
        ]
        processes = set(named)
        for process in named:
            with suppress(psutil.NoSuchProcess):
                processes.update(process.children(recursive=True))
        return list(processes)

    def crossed(self, address: str, port: int) -> str:
        """Return where a port beyond the border of this host is reached: one of its own by others, or one of others."""
        if self.is_namespace:
            return f"{address}:{port}"
        self.proxies.append(SilentProxy(partial(socket.create_connection, (address, port))))
        return f"{HERE}:{self.proxies[-1].port}"

    def cut(self) -> None:
        """Let nothing through between this host and the others."""
        for proxy in self.proxies:
            proxy.fall_silent()
        if self.is_namespace:
            _ip("link", "set", _outside(self.name), "down")

    def heal(self) -> None:
        """Let everything through again."""
        for proxy in self.proxies:
            proxy.speak()
        if self.is_namespace:
            _ip("link", "set", _outside(self.name), "up")


@contextmanager
def hosts(count: int, folder: Path) -> Iterator[tuple[str, list[Host]]]:
    """Yield the address of this machine for the hosts, and the hosts; what runs on them ends with the block."""
    in_namespaces = os.geteuid() == 0 and shutil.which("ip") is not None and _may_make_namespaces()
    made = [
        Host(name, f"{NETWORK}.{10 + n}" if in_namespaces else HERE, in_namespaces, folder / name)
        for n, name in enumerate(f"jobledger-ha{n}" for n in range(count))
    ]
    try:
        if in_namespaces:
            _connect(made)
        yield (f"{NETWORK}.1" if in_namespaces else HERE), made
    finally:
        for host in made:
            host.kill()
            for proxy in host.proxies:
                proxy.close()
        if in_namespaces:
            _remove(made)


def _may_make_namespaces() -> bool:
    try:
        _ip("netns", "add", BRIDGE)
    except subprocess.CalledProcessError:
        return False
    _ip("netns", "del", BRIDGE)
    return True


def _connect(made: Sequence[Host]) -> None:
    _remove(made)  # what a demo that was killed has left
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for host in made:
        _ip("netns", "add", host.name)
        _ip("link", "add", _outside(host.name), "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _ip("link", "set", _outside(host.name), "master", BRIDGE, "up")
        _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", host.name, "link", "set", device, "up")


def _remove(made: Sequence[Host]) -> None:
    """Remove the hosts; a cable goes later than its host, unless it is told to."""
    for host in made:
        for words in (("link", "del", _outside(host.name)), ("netns", "del", host.name)):
            _ip(*words, check=False)
    _ip("link", "del", BRIDGE, check=False)


def _outside(name: str) -> str:
    """Return the end of a host's cable on this machine; names of devices have at most 15 characters."""
    return f"jlha-{name[-1]}"


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run([shutil.which("ip") or "ip", *words], check=check, capture_output=True)
