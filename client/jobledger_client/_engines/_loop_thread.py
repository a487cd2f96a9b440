"""An event loop on a thread beside an engine's plain code, with the heartbeats and reports of attempts."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._sync._client import JobClient
from jobledger_client._worker._lease_keeper import LeaseKeeper
from jobledger_client._worker._reports import Reports

logger = logging.getLogger("jobledger_client.engine")

Result = TypeVar("Result")

_START_STOP_SECONDS = 10.0  # for the loop to start, and to end


class LoopThread:
    """The loop and its thread. They belong to the process that creates them."""

    client: AsyncJobClient
    keeper: LeaseKeeper
    reports: Reports

    def __init__(
        self,
        open_client: Callable[[], AsyncJobClient],
        open_sync_client: Callable[[], JobClient],
        lease_duration: timedelta,
        heartbeat_interval: timedelta,
        worker: str,
    ) -> None:
        self._open_client = open_client
        self._open_sync_client = open_sync_client
        self._lease_duration = lease_duration
        self._heartbeat_interval = heartbeat_interval
        self._worker = worker
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="jobledger-engine", daemon=True)
        self._thread.start()
        self._ready.wait(_START_STOP_SECONDS)

    @property
    def is_usable(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine on the loop; any thread may wait for the future, which `close` cancels."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """End the heartbeats, the connection, and all that runs on the loop."""
        if self.is_usable:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(_START_STOP_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with self._open_client() as client:
            self.client = client
            self.keeper = LeaseKeeper(
                self._open_sync_client, self._lease_duration, self._heartbeat_interval, worker=self._worker
            )
            self.keeper.start()
            self.reports = Reports(client, Backoff(initial=timedelta(milliseconds=200)), self._lease_duration)
            tasks = [asyncio.create_task(run, name=name) for name, run in self.reports.runs().items()]
            for task in tasks:
                task.add_done_callback(_log_end)
            self._ready.set()
            await self._closing.wait()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self.keeper.close()


def _log_end(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("ended with an error: %s", task.get_name(), exc_info=error)
