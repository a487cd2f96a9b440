"""A process, or a part of an application, that serves until it is stopped."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

_LEFT_TASKS_SECONDS = 1.0  # for tasks that are left at the end to take their cancellation


class Runnable:
    """Serves once, until `stop`."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, drain, and return. Call it on the main thread of a process.

        Raises RuntimeError within an event loop: `await serve()` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            _run_to_its_end(self._run())
        else:
            raise RuntimeError(
                f"{type(self).__name__}.run() makes an event loop of its own; in a running loop, await serve()"
            )

    async def serve(self) -> None:
        """Serve until `stop`."""
        raise NotImplementedError

    async def _run_until_stopped(self, *work: Coroutine[Any, Any, Any]) -> None:
        """Run coroutines until `stop`, or until one of them ends; raise its error."""
        tasks = [asyncio.create_task(coroutine) for coroutine in (*work, self._stopping.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def stop(self) -> None:
        """Start to drain and stop. Any thread may call this, also before `serve`."""
        if self._loop is None:
            self._stopping.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self.serve()


def _run_to_its_end(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a loop of its own, as asyncio.run does; wait for no task that swallows its cancellation."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_cancel_left_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _cancel_left_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LEFT_TASKS_SECONDS)
