"""Counts of usage are written once, though whoever waits for the write is cancelled, or gives up."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from jobledger_service.features.usage import feature as usage
from jobledger_service.features.usage.store import SqlUsageStore, UsageQuery
from jobledger_service.transport.identity import DEFAULT_CALLER
from sqlalchemy import event

from tests.isolation.kernels import opened
from tests.support.bounds import BOUND

pytestmark = pytest.mark.fast

METHOD = "jobledger.v1.JobService/GetJob"


@pytest.mark.parametrize("ends", ["cancelled", "given up"])
async def test_a_write_of_usage_that_is_not_waited_for_counts_each_call_once(tmp_path: Path, ends: str):
    loop, begun, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO usage"):
            loop.call_soon_threadsafe(begun.set)
            may_end.wait(BOUND)

    async with opened(f"sqlite:///{tmp_path / 'usage.db'}") as ledger:
        kernel = ledger.kernel
        feature = usage.feature.open(kernel)
        kernel.calls.usage.counts_for(DEFAULT_CALLER, METHOD).calls += 3
        event.listen(kernel.database.writer, "before_cursor_execute", hold)
        duty = asyncio.create_task(feature.duties[0].run(lambda _name, _succeeded: None))
        await begun.wait()
        if ends == "given up":
            kernel.waits.expire(0)  # as for a database that does not answer
            await asyncio.sleep(0)  # the duty hears of it
        duty.cancel()  # as the drain does
        with pytest.raises(asyncio.CancelledError):
            await duty
        kernel.calls.usage.counts_for(DEFAULT_CALLER, METHOD).calls += 4
        assert feature.close is not None
        closing = asyncio.ensure_future(feature.close())
        may_end.set()
        await closing
        [row] = SqlUsageStore(kernel.database).sums(UsageQuery(("method",)), None, 10)
        assert (row.method, row.counts.calls) == (METHOD, 7)
