"""Workers: ListWorkers, a method of WorkerService, and the duty that writes which workers claim."""

import asyncio
from functools import partial
from typing import Final

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.active_workers import REMEMBERED
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, WorkerCalls
from .store import SqlWorkerStore

ROWS_PER_STEP: Final = 500


def workers(kernel: Kernel) -> Feature:
    """Return what workers add to a server. A crash loses what was seen since the last write."""
    store, active = SqlWorkerStore(kernel.database), kernel.active_workers
    written = 0

    async def record() -> bool:
        """Write the workers that were seen since the last time, each once, in steps."""
        nonlocal written
        now = kernel.clock()
        seen = active.since(written)
        for begin in range(0, len(seen), ROWS_PER_STEP):
            some = seen[begin : begin + ROWS_PER_STEP]
            await kernel.committer.run_on_writer(partial(store.write, some), len(some))
        written = now
        active.forget(now - REMEMBERED)
        return False

    async def record_soon() -> bool:
        """Write them at most once a second, however many are new."""
        await asyncio.sleep(min(max(0.0, (written + SECOND - kernel.clock()) / SECOND), 1.0))
        return await record()

    return Feature(
        calls=[Calls(METHODS, WorkerCalls(kernel, store))],
        duties=[
            Duty("workers", record_soon, kernel.settings.usage_interval, active.is_new),
            trimming("worker retention", kernel, store.trim, REMEMBERED),
        ],
        close=record,
    )
