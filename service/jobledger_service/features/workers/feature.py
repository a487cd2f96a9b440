"""Workers: ListWorkers, and the duty that records which workers claim."""

import asyncio
from functools import partial
from typing import Final

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import RECORD_SECONDS, Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.write.active_workers import REMEMBERED
from jobledger_service.transport.methods import Calls

from .api import METHODS, WorkerCalls
from .store import SqlWorkerStore

ROWS_PER_STEP: Final = 500


def _open(kernel: Kernel) -> ServerParts:
    """Record workers from time to time; a crash loses what was seen since."""
    store, active = SqlWorkerStore(kernel.database), kernel.active_workers
    written = 0

    async def record() -> bool:
        """Write the workers that were seen since the last time, each once, in steps."""
        nonlocal written
        now = kernel.clock()
        seen = active.since(written)
        for begin in range(0, len(seen), ROWS_PER_STEP):
            step = seen[begin : begin + ROWS_PER_STEP]
            await kernel.committer.run_on_writer(partial(store.write, step), len(step))
        written = now
        active.forget(now - REMEMBERED)
        return False

    async def record_soon() -> bool:
        """Write them at most once a second, however many are new."""
        await asyncio.sleep(min(max(0.0, (written + SECOND - kernel.clock()) / SECOND), 1.0))
        return await record()

    return ServerParts(
        calls=[Calls(METHODS, WorkerCalls(kernel, store))],
        duties=[
            Duty("workers", record_soon, RECORD_SECONDS, active.is_new),
            trimming("worker retention", kernel, store.trim, REMEMBERED),
        ],
        close=record,
    )


feature = Feature(_open)
