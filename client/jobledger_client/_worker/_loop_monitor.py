"""Notices an event loop that is blocked, and says which handler blocks it, where, and what to do."""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from math import inf
from types import FrameType

from jobledger_client._worker._containment import Tasks

logger = logging.getLogger("jobledger_client.worker")

LATE = 1.0  # seconds after which a loop counts as blocked
QUIET_SECONDS = 60.0  # between two warnings about handlers of one kind
_MAX_FRAMES = 8

Blame = Callable[["asyncio.Task[object] | None"], Tasks | None]


class LoopMonitor:
    """Asks the loop for a sign of life, from another thread. It is made on the loop's own thread.

    `blame` finds the handler that a task belongs to, None for a task that is no handler's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, blame: Blame) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._blame = blame
        self._asked_at: float | None = None
        self._warned_at: dict[str, float] = {}

    def check(self, now: float) -> None:
        """Ask, or warn about a loop that owes its answer. `now` is in seconds of a monotonic clock."""
        asked_at = self._asked_at
        if asked_at is None:
            self._asked_at = now
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._answer)
        elif now - asked_at >= LATE:
            self._warn(now, now - asked_at)

    def _answer(self) -> None:
        self._asked_at = None

    def _warn(self, now: float, seconds: float) -> None:
        culprit = self._blame(asyncio.current_task(self._loop))
        kind, name = (culprit.kind, culprit.name) if culprit else ("", "something that is no handler")
        if now - self._warned_at.get(kind, -inf) < QUIET_SECONDS:
            return
        self._warned_at[kind] = now
        place, stack = _place(sys._current_frames().get(self._thread_id))  # noqa: SLF001 - documented, for debuggers
        logger.warning(
            "%s has blocked the event loop for %.1f s, at %s. Until it returns, no other async handler of this worker "
            "runs. Call what blocks with `await asyncio.to_thread(...)`, or make the handler a plain `def`, which runs "
            "on a thread.\n%s",
            name,
            seconds,
            place,
            stack,
        )


def _place(frame: FrameType | None) -> tuple[str, str]:
    """Return where the thread is, and how it came there from the event loop."""
    if frame is None:
        return "an unknown place", ""
    frames = list(_since_the_loop(traceback.extract_stack(frame)))
    last = frames[-1]
    return f"{last.filename}:{last.lineno} in {last.name}", "".join(
        traceback.format_list(frames[-_MAX_FRAMES:])
    ).rstrip()


def _since_the_loop(frames: traceback.StackSummary) -> Iterable[traceback.FrameSummary]:
    """Return the frames above the one in which the event loop runs its callbacks; all, where it has none."""
    runs = [place for place, one in enumerate(frames) if one.name == "_run" and one.filename == asyncio.events.__file__]
    return frames[runs[-1] + 1 :] if runs and runs[-1] + 1 < len(frames) else frames
