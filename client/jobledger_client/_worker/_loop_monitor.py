"""Detects a blocked event loop, and logs which handler blocks it, where, and what to do."""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from math import inf
from types import FrameType

from jobledger_client._worker._handler_tasks import HandlerTasks

logger = logging.getLogger("jobledger_client.worker")

BLOCKED_SECONDS = 1.0  # after which a loop counts as blocked
QUIET_SECONDS = 60.0  # between two warnings about handlers of one kind
_MAX_FRAMES = 8

FindHandler = Callable[["asyncio.Task[object] | None"], HandlerTasks | None]


class LoopMonitor:
    """Probes the loop from another thread. Create it on the loop's own thread.

    `find_handler` returns the handler that a task belongs to, None for a task of no handler.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, find_handler: FindHandler) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._find_handler = find_handler
        self._probed_at: float | None = None
        self._warned_at: dict[str, float] = {}

    def check(self, now: float) -> None:
        """Probe the loop, or warn if it has not responded. `now` is in seconds of a monotonic clock."""
        probed_at = self._probed_at
        if probed_at is None:
            self._probed_at = now
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._respond)
        elif now - probed_at >= BLOCKED_SECONDS:
            self._warn(now, now - probed_at)

    def _respond(self) -> None:
        self._probed_at = None

    def _warn(self, now: float, seconds: float) -> None:
        handler = self._find_handler(asyncio.current_task(self._loop))
        kind, name = (handler.kind, handler.name) if handler else ("", "code outside the handlers")
        if now - self._warned_at.get(kind, -inf) < QUIET_SECONDS:
            return
        self._warned_at[kind] = now
        place, stack = _place(sys._current_frames().get(self._thread_id))  # noqa: SLF001 - documented, for debuggers
        logger.warning(
            "%s has blocked the event loop for %.1f s, at %s. Until it returns, no other async handler of this worker "
            "runs. Call blocking code with `await asyncio.to_thread(...)`, or make the handler a plain `def`, which "
            "runs on a thread.\n%s",
            name,
            seconds,
            place,
            stack,
        )


def _place(frame: FrameType | None) -> tuple[str, str]:
    """Return the line that the thread runs, and its stack since the event loop."""
    if frame is None:
        return "an unknown place", ""
    frames = list(_since_the_loop(traceback.extract_stack(frame)))
    last = frames[-1]
    return f"{last.filename}:{last.lineno} in {last.name}", "".join(
        traceback.format_list(frames[-_MAX_FRAMES:])
    ).rstrip()


def _since_the_loop(frames: traceback.StackSummary) -> Iterable[traceback.FrameSummary]:
    """Return the frames above the one in which the event loop runs callbacks; all frames without such a one."""
    runs = [place for place, one in enumerate(frames) if one.name == "_run" and one.filename == asyncio.events.__file__]
    return frames[runs[-1] + 1 :] if runs and runs[-1] + 1 < len(frames) else frames
