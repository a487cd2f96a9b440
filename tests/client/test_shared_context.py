"""The context of an attempt is used by many threads and tasks, for long: it stays within its bounds."""

import asyncio
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from jobledger_client.testing import FakeContext

pytestmark = pytest.mark.fast

MAX_ARTIFACTS = 50


def test_threads_together_add_as_many_artifacts_as_a_chunk_may_have():
    context = FakeContext()

    def add(number: int) -> bool:
        try:
            context.artifact(f"artifact {number}", uri="s3://bucket/one")
        except ValueError:
            return False
        return True

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as threads:
            added = sum(threads.map(add, range(400)))
    finally:
        sys.setswitchinterval(interval)
    assert added == MAX_ARTIFACTS


async def test_a_handler_that_looks_for_its_end_again_and_again_leaves_nothing_behind():
    context = FakeContext()
    await look_for_the_end(context)
    before = count_events()  # with that of the last wait, whose frame is still there
    for _ in range(50):
        await look_for_the_end(context)
    assert count_events() == before
    context.cancel()
    await context.until_cancelled()


async def look_for_the_end(context: FakeContext) -> None:
    task = asyncio.create_task(context.until_cancelled())
    await asyncio.sleep(0)  # it waits now
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def count_events() -> int:
    gc.collect()
    return sum(isinstance(one, asyncio.Event) for one in gc.get_objects())
