"""Usage: GetUsage, and the duty that keeps what the transport counts, by day."""

import asyncio
from functools import partial
from itertools import chain
from typing import Final

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import RECORD_SECONDS, Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.transport.methods import Calls
from jobledger_service.transport.usage import UsageRow

from .api import METHODS, UsageCalls
from .store import SqlUsageStore, day_of

ROWS_PER_STEP: Final = 500


def _taken_from(step: list[list[UsageRow]]) -> list[UsageRow]:
    """Take the rows of a step: of the writer and who waits for it, one gets them."""
    try:
        return step.pop()
    except IndexError:
        return []


def _open(kernel: Kernel) -> ServerParts:
    """Record usage from time to time; a crash loses the counts since."""
    counted, store = kernel.calls.usage, SqlUsageStore(kernel.database)

    writing: asyncio.Task[None] | None = None

    async def record() -> bool:
        """Write new counts. A write that has begun is not cancelled: whether it took effect would not be known."""
        nonlocal writing
        if writing is not None:
            await asyncio.gather(writing, return_exceptions=True)
        writing = asyncio.create_task(write(), name="usage")
        await asyncio.shield(writing)
        return False

    async def write() -> None:
        """Write new counts, in steps."""
        rows = counted.drain(day_of(kernel.clock()))
        loop = asyncio.get_running_loop()
        while rows:
            step, rows = [rows[:ROWS_PER_STEP]], rows[ROWS_PER_STEP:]
            try:
                await kernel.committer.run_on_writer(partial(add, step, loop), ROWS_PER_STEP)
            except BaseException:
                counted.restore(chain(_taken_from(step), rows))
                raise

    def add(step: list[list[UsageRow]], loop: asyncio.AbstractEventLoop) -> None:
        """Write counts that were not merged back; the outcome is ignored when the caller stopped waiting."""
        rows = _taken_from(step)
        try:
            store.add(rows)
        except BaseException:
            loop.call_soon_threadsafe(counted.restore, rows)
            raise

    return ServerParts(
        calls=[Calls(METHODS, UsageCalls(store, kernel))],
        duties=[
            Duty("usage", record, RECORD_SECONDS),
            trimming("usage retention", kernel, store.trim, round(kernel.settings.usage_retention * SECOND)),
        ],
        close=record,
    )


feature = Feature(_open)
