"""Group commit: every command that arrived while the last transaction ran goes into the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from msgspec import Struct

from jobledger_service.domain.errors import Draining, QueueFull, StoreUnavailable

from .batch import Commit, Executor, Outcome, Postponed
from .commands import Command

Answer = TypeVar("Answer")
Kept = TypeVar("Kept")

BATCH = 512
BATCH_WEIGHT = 2_000
"""Rows, about, after which a batch ends. The executor, which knows the rows, puts off what it has no room for."""


class Batch(Struct, frozen=True):
    """A batch that was carried out: how many commands, in how many seconds, and when by the loop's clock it ended."""

    commands: int
    seconds: float
    ended: float


class _Waiting(Struct):
    command: Command[Any, Any]
    caller: "asyncio.Future[Any]"
    unheard: Callable[[Any], None] | None


class Committer:
    """Takes commands on the event loop and carries them out in batches on one thread of its own.

    `heard` is called on the loop with each commit, before the callers get their answers; `measured` after that, with
    how the batch went. `busy_since` is when, by the loop's clock, the batch that runs now began; None while none does.
    `last` is the last batch that was committed, and `failed` when the database took none of the last one; else None.
    """

    def __init__(
        self,
        executor: Executor,
        heard: Callable[[Commit], None],
        *,
        limit: int = 10_000,
        measured: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self._executor = executor
        self._heard = heard
        self._measured = measured
        self.last: Batch | None = None
        self.failed: float | None = None
        self.limit = limit
        self.busy_since: float | None = None
        self._waiting: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "committer")
        self._closed = False

    async def submit(self, command: Command[Any, Answer], unheard: Callable[[Answer], None] | None = None) -> Answer:
        """Carry out a command and return its answer once it is on disk.

        A command whose caller leaves before its batch begins is not carried out. `unheard` is called with the answer
        when the caller left later than that, and so did not get it.

        Raises the command's Refusal; QueueFull when as many commands wait as may; Draining after `close`.
        """
        if self._closed:
            raise Draining
        if len(self._waiting) >= self.limit:
            raise QueueFull(self.limit)
        caller: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(command, caller, unheard))
        self._news.set()
        try:
            return await caller
        except asyncio.CancelledError:
            if unheard is not None and caller.done() and not caller.cancelled() and caller.exception() is None:
                unheard(caller.result())
            raise

    async def maintain(self, work: Callable[[], Kept]) -> Kept:
        """Do the store's own upkeep on the writer's thread, between two batches; raises Draining after `close`."""
        if self._closed:
            raise Draining
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @property
    def queued(self) -> int:
        """How many commands wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Take no more commands; `run` ends when those that wait are carried out."""
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        """Carry out commands until `close`."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or not self._closed:
                batch = self._take()
                if not batch:
                    self._news.clear()
                    await self._news.wait()
                    continue
                commands = [one.command for one in batch]
                began = self.busy_since = loop.time()
                outcomes, commits = await loop.run_in_executor(self._thread, self._executor.run, commands)
                self._conclude(batch, outcomes, commits)
                self.busy_since = None
                self._note(Batch(len(commands), loop.time() - began, loop.time()), outcomes, committed=bool(commits))
        finally:
            self._thread.shutdown(wait=True)

    def _note(self, batch: Batch, outcomes: Sequence[Outcome], *, committed: bool) -> None:
        if committed:
            self.last, self.failed = batch, None
        elif any(isinstance(one, StoreUnavailable) for one in outcomes):
            self.failed = batch.ended
        self._measured(batch)

    def _take(self) -> list[_Waiting]:
        """Return the next commands whose callers are still there: at least one, then up to the batch's bounds."""
        batch: list[_Waiting] = []
        weight = 0
        while self._waiting and len(batch) < BATCH and weight < BATCH_WEIGHT:
            one = self._waiting.popleft()
            if not one.caller.done():
                batch.append(one)
                weight += one.command.weight
        return batch

    def _conclude(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], commits: Sequence[Commit]) -> None:
        for commit in commits:
            self._heard(commit)
        again = []
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Postponed):
                one.command = outcome.rest or one.command
                again.append(one)
            elif one.caller.done():
                if one.unheard is not None and not isinstance(outcome, Exception):
                    one.unheard(outcome)
            elif isinstance(outcome, Exception):
                one.caller.set_exception(outcome)
            else:
                one.caller.set_result(outcome)
        self._waiting.extendleft(reversed(again))
