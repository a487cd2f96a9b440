"""Usage: GetUsage, a method of AdminService, and the duty that keeps what the transport counts, by day."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.transport.methods import Calls

from .api import METHODS, UsageCalls, day_of
from .store import SqlUsageStore


def usage(kernel: Kernel) -> Feature:
    """Return what usage adds to a server. A crash loses counts in memory."""
    counted, store = kernel.calls.usage, SqlUsageStore(kernel.database)

    async def record() -> bool:
        """Write new counts, and delete those that are too old."""
        today = kernel.clock()
        if rows := counted.drain(day_of(today)):

            def write() -> None:
                store.add(rows)
                store.forget(day_of(today, kernel.settings.usage_retention))

            try:
                await kernel.committer.run_on_writer(write)
            except BaseException:
                counted.restore(rows)
                raise
        return False

    return Feature(
        calls=[Calls(METHODS, UsageCalls(store, kernel))],
        duties=[Duty("usage", record, kernel.settings.usage_interval)],
        close=record,
    )
