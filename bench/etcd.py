"""etcd as a peer: the server, from PATH or unpacked from Debian's package beside the results, and its load."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from .processes import BOUND, ROOT, Served, StartError, running

PACKAGE: Final = "etcd-server"
UNPACKED: Final = ROOT / "bench" / "results" / PACKAGE


def executable() -> Path:
    """Return the path of etcd, unpacked at first use; nothing is installed. Raises StartError with the reason."""
    program = shutil.which("etcd")
    if program is not None:
        return Path(program)
    path = UNPACKED / "usr" / "bin" / "etcd"
    if not path.exists():
        _unpack()
    return path


def _unpack() -> None:
    if shutil.which("apt-get") is None:
        raise StartError("etcd is not on the PATH, and there is no apt-get to download it")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    for command in (["apt-get", "download", "--quiet", PACKAGE], ["sh", "-c", f"dpkg-deb -x {PACKAGE}_*.deb ."]):
        done = subprocess.run(command, cwd=UNPACKED, capture_output=True, text=True, check=False, timeout=4 * BOUND)
        if done.returncode:
            raise StartError(f"etcd is not on the PATH, and {' '.join(command)} failed: {done.stderr.strip()}")


def version() -> str:
    """Return the version of etcd."""
    said = subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].rpartition(" ")[2]


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def etcd(folder: Path) -> Iterator[Served]:
    """Run a member of one with its default settings: each Put is synced to disk."""
    client, peer = (f"127.0.0.1:{port}" for port in _free_ports(2))
    flags: list[str | Path] = ["--data-dir", folder / "etcd", "--listen-client-urls", f"http://{client}"]
    flags += ["--advertise-client-urls", f"http://{client}", "--listen-peer-urls", f"http://{peer}"]
    flags += ["--initial-advertise-peer-urls", f"http://{peer}", "--initial-cluster", f"default=http://{peer}"]
    log = folder / "etcd.log"
    with running([executable(), *flags], log) as process, grpc.insecure_channel(client) as channel:
        try:
            grpc.channel_ready_future(channel).result(BOUND)
        except grpc.FutureTimeoutError:
            raise StartError(f"etcd did not become ready; it logged:\n{log.read_text()[-4_000:]}") from None
        yield Served("etcd", process.pid, client)
