"""Imported by a server under torture before it starts: it kills itself at a moment that a file names."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.watch.live_feed import LiveFeed
from jobledger_service.core.write.writing import Transaction, WriteStore
from jobledger_service.transport.call import AccessLog, Call
from jobledger_service.transport.methods import Kind

MOMENT_FILE = "TORTURE_MOMENT_FILE"
"""A variable of the environment: the path of the file."""
CLOCK_FILE = "TORTURE_CLOCK_FILE"
"""A variable of the environment: the path of the file with the seconds by which the clock is wrong."""
BEFORE_COMMIT = "before the commit"
AFTER_COMMIT = "after the commit and before the feed"
AFTER_FEED = "after the feed and before the answer"
AFTER_ANSWER = "after the answer"
MOMENTS = (BEFORE_COMMIT, AFTER_COMMIT, AFTER_FEED, AFTER_ANSWER)


def _die_at(moment: str) -> None:
    """End this process at once if it is the moment that the file names."""
    try:
        named = Path(os.environ[MOMENT_FILE]).read_text(encoding="utf-8")
    except (FileNotFoundError, KeyError):
        return
    if named == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def _patch() -> None:
    transaction, publish, end = WriteStore.transaction, LiveFeed.publish, Call.end

    @contextmanager
    def watched(self: WriteStore) -> Iterator[Transaction]:
        with transaction(self) as opened:
            yield opened
            if opened.last_position is not None:
                _die_at(BEFORE_COMMIT)
        if opened.last_position is not None:
            _die_at(AFTER_COMMIT)

    def published(self: LiveFeed, entries: Sequence[Entry]) -> None:
        publish(self, entries)
        if entries:
            _die_at(AFTER_FEED)

    def ended(self: Call, access: AccessLog) -> None:
        end(self, access)
        if self.handler.method.kind is Kind.WRITE and self.code == "OK":
            _die_at(AFTER_ANSWER)

    for owner, name, replacement in (
        (WriteStore, "transaction", watched),
        (LiveFeed, "publish", published),
        (Call, "end", ended),
    ):
        _replace(owner, name, replacement)


def _replace(owner: type, name: str, replacement: Callable[..., Any]) -> None:
    setattr(owner, name, replacement)


def _patch_clock() -> None:
    """Let the clock be wrong by what the file says, which is read on SIGUSR1."""
    true_time, offset = time.time_ns, [0]

    def read_offset(*_: object) -> None:
        offset[0] = round(float(Path(os.environ[CLOCK_FILE]).read_text(encoding="utf-8")) * 1_000_000_000)

    signal.signal(signal.SIGUSR1, read_offset)
    time.time_ns = lambda: true_time() + offset[0]


if MOMENT_FILE in os.environ:
    _patch()
    _patch_clock()
