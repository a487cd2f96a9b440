"""A late event loop is noticed once in a while, and only while it is late."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from jobledger_client._worker._handler_tasks import HandlerTasks
from jobledger_client._worker._loop_monitor import BLOCKED_SECONDS, QUIET_SECONDS, LoopMonitor


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.partition(", at ")[0] for message in caplog.messages]


async def test_a_late_loop_is_reported_once_in_a_while_for_each_kind(caplog: pytest.LogCaptureFixture):
    culprits: list[Any] = [HandlerTasks("a.b", "the handler of a.b (chunk 0 of job x)")]
    monitor = LoopMonitor(asyncio.get_running_loop(), lambda task: culprits[0])
    monitor.check(0.0)
    monitor.check(BLOCKED_SECONDS - 0.1)
    assert warnings(caplog) == []
    for now in (BLOCKED_SECONDS, BLOCKED_SECONDS + 1, BLOCKED_SECONDS + QUIET_SECONDS - 0.1):
        monitor.check(now)
    assert warnings(caplog) == ["the handler of a.b (chunk 0 of job x) has blocked the event loop for 1.0 s"]
    culprits[0] = HandlerTasks("c.d", "the handler of c.d (chunk 1 of job y)")
    monitor.check(30.0)
    culprits[0] = None
    monitor.check(31.0)
    culprits[0] = HandlerTasks("a.b", "the handler of a.b (chunk 2 of job x)")
    monitor.check(BLOCKED_SECONDS + QUIET_SECONDS)
    assert warnings(caplog)[1:] == [
        "the handler of c.d (chunk 1 of job y) has blocked the event loop for 30.0 s",
        "code outside the handlers has blocked the event loop for 31.0 s",
        "the handler of a.b (chunk 2 of job x) has blocked the event loop for 61.0 s",
    ]


async def test_a_loop_that_answers_is_not_late(caplog: pytest.LogCaptureFixture):
    monitor = LoopMonitor(asyncio.get_running_loop(), lambda task: None)
    for now in (0.0, 100.0, 200.0):
        monitor.check(now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert warnings(caplog) == []


def test_a_closed_loop_is_left_alone():
    closed = SimpleNamespace(is_closed=lambda: True)
    LoopMonitor(closed, lambda task: None).check(0.0)
