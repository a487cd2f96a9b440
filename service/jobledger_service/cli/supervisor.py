"""Several server processes on one address: starts them, restarts dead ones, and ends them together."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from msgspec.structs import asdict

from jobledger_service.core.model.history.writer_level import OUTDATED
from jobledger_service.settings import PREFIX, Settings
from jobledger_service.transport.server import CannotListenError

log = structlog.get_logger(__name__)

SERVE_COMMAND: Final = (sys.executable, "-m", "jobledger_service", "serve")
RESTART_SECONDS = 1.0
"""Seconds before a dead process is restarted."""


class Supervisor:
    """Runs a server process for each of the environments, until `stop`."""

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._environments = environments
        self._processes: list[asyncio.subprocess.Process | None] = [None] * len(environments)
        self._ready = [asyncio.Event() for _ in environments]
        self._stopping = asyncio.Event()
        self._worst = 0

    def stop(self) -> None:
        """Send every process the signal to drain."""
        self._stopping.set()
        for process in self._processes:
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGTERM)

    async def run(self, ready: Callable[[], None]) -> int:
        """Keep the processes running until `stop`; `ready` is called when all serve. Return the worst exit status."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self._processes)):
                tasks.create_task(self._keep(number))
            announcing = tasks.create_task(self._announce(ready))
            await self._stopping.wait()
            announcing.cancel()
        return self._worst

    async def _announce(self, ready: Callable[[], None]) -> None:
        for is_ready in self._ready:
            await is_ready.wait()
        ready()

    async def _keep(self, number: int) -> None:
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                *SERVE_COMMAND,
                env=self._environments[number],
                stdout=asyncio.subprocess.PIPE,
            )
            self._processes[number] = process
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            status = await self._follow(number, process)
            if self._stopping.is_set():
                self._worst = max(self._worst, abs(status))
            elif status == OUTDATED or not self._ready[number].is_set():
                # it is outdated, or never served: a restart would not help
                self._worst = max(self._worst, abs(status))
                self.stop()
            else:
                log.error("a process died and is restarted", process=number, status=status)
                await asyncio.sleep(RESTART_SECONDS)

    async def _follow(self, number: int, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None  # noqa: S101  it was asked for above
        if await process.stdout.readline():
            self._ready[number].set()
        return await process.wait()


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Yield the port, a free one for 0, and keep it from others that do not share it; raises CannotListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind((host.strip("[]"), port))
        except OSError as error:
            raise CannotListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        yield holder.getsockname()[1]


def _addresses(settings: Settings, number: int) -> dict[str, str]:
    """Return the differences between the processes: each has ports of its own for metrics and admins."""
    addresses = {"JOBLEDGER_METRICS_LISTEN": settings.metrics_listen, "JOBLEDGER_ADMIN_LISTEN": settings.admin_listen}
    return {name: _next(address, number) for name, address in addresses.items() if address}


def _next(address: str, number: int) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + number if int(port) else 0}"


async def supervise(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve with several processes on one port until SIGTERM or SIGINT; return the worst exit status."""
    host, _, port = settings.listen.rpartition(":")
    with reserved(host, int(port)) as shared:
        address = f"{host}:{shared}"
        values = asdict(settings) | {"listen": address, "processes": 1, "shared_port": True}
        environment = os.environ | {
            f"{PREFIX}{name.upper()}": str(value) for name, value in values.items() if value is not None
        }
        supervisor = Supervisor([environment | _addresses(settings, number) for number in range(settings.processes)])
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, supervisor.stop)
        return await supervisor.run(lambda: ready(address))
