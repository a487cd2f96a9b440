"""Duties that delete what is kept only for a time."""

from collections.abc import Callable
from functools import partial
from typing import Final

from jobledger_service.core.duty import TRIM_SECONDS, Duty
from jobledger_service.core.kernel import Kernel

ROWS_PER_STEP: Final = 1_000


def trimming(name: str, kernel: Kernel, trim: Callable[[int, int], int], kept: int) -> Duty:
    """Return the duty that calls `trim` with a time `kept` microseconds ago and the maximum of rows to delete at once.

    `trim` returns the number of deleted rows. It runs on the writer's thread, in small steps: no caller waits long.
    """

    async def once() -> bool:
        step = partial(trim, kernel.clock.calendar() - kept, ROWS_PER_STEP)
        return await kernel.committer.run_on_writer(step, ROWS_PER_STEP) >= ROWS_PER_STEP

    return Duty(name, once, TRIM_SECONDS)
