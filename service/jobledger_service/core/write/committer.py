"""Group commit: commands that arrive during a transaction are carried out in the next one, owners in turn."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.current_call import SERVICE_OWNER, DeadlinePassedError, charged_owner, current_call
from jobledger_service.core.model.refusals.errors import Draining, Refusal, StoreUnavailable
from jobledger_service.core.waits import Waits

from .batch import Commit, Executor, Outcome
from .commands import Command
from .fair_queue import Admission, BatchBounds, FairQueue, QueuedWork, Throughput
from .postponed import Postponed

Answer = TypeVar("Answer")
Result = TypeVar("Result")

BATCH_BOUNDS: Final = BatchBounds(commands=512, rows=2_000, size=4 * 1_048_576)
"""The bounds of a batch. The executor counts rows when they are loaded, and postpones what is too much."""
MAX_QUEUED_COMMANDS: Final = 10_000
"""Commands that may wait; `queue_wait` and `memory_limit` usually refuse earlier."""
COMMIT_STALL_SECONDS: Final = 5.0
"""Seconds after which a batch counts as one that the database does not answer; the largest takes under a second."""
ROWS_PER_COMMAND: Final = 100
"""Waiting rows for each command that may wait: a bound on the backlog of commands of many rows."""
UPKEEP_ROWS: Final = 150
"""The cost of a transaction of its own: about 2 ms."""


class QueueBounds(MsgStruct, frozen=True):
    """How much may wait for the writer: commands, and for how many seconds an owner's oldest.

    A batch that has run for `stall` seconds counts as one that the database does not answer.
    """

    commands: int = field(default_factory=lambda: MAX_QUEUED_COMMANDS)
    wait: float = 1.0
    stall: float = field(default_factory=lambda: COMMIT_STALL_SECONDS)


class Batch(MsgStruct, frozen=True):
    """A finished batch: its number of commands, its seconds, and its end by the loop's clock."""

    commands: int
    seconds: float
    ended: float


class Committer:
    """Accepts commands on the event loop and carries them out in batches on one thread of its own.

    `on_commit` is called on the loop with each commit, before the callers get their answers; `on_batch` after that,
    with the batch. `busy_since` is the start of the current batch, by the loop's clock; None without one. `last` is the
    last committed batch, and `failed` is whether the database refused the whole last batch.
    """

    def __init__(
        self,
        executor: Executor,
        on_commit: Callable[[Commit], None],
        *,
        bounds: QueueBounds | None = None,
        on_batch: Callable[[Batch], None] = lambda _: None,
        waits: Waits | None = None,
    ) -> None:
        self._waits = waits or Waits()
        bounds = bounds or QueueBounds()
        self._executor = executor
        self._on_commit = on_commit
        self._on_batch = on_batch
        self.last: Batch | None = None
        self.failed: float | None = None
        self.limit = bounds.commands
        self.stall = bounds.stall
        self.busy_since: float | None = None
        self._queue = FairQueue(bounds.commands, bounds.commands * ROWS_PER_COMMAND)
        self._throughput = Throughput()
        self._admission = Admission(self._queue, self._throughput, bounds.wait)
        self._wake_event = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "committer")
        self._closed = False

    async def submit(
        self, command: Command[Any, Answer], on_abandoned: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Carry out a command in the turn of its caller, and return its answer once it is on disk.

        A command whose caller leaves before its batch begins is not run. `on_abandoned` is called with the answer when
        the caller left later, and so did not get it. Raises the command's Refusal; QueueFull when too much waits;
        DeadlinePassedError; Draining after `close`.
        """
        owner = charged_owner(command.owner)
        answer: Answer = await self._wait_for(
            owner, command.weight, reserved=command.reserved, command=command, on_abandoned=on_abandoned
        )
        return answer

    async def run_on_writer(self, work: Callable[[], Result], rows: int = UPKEEP_ROWS) -> Result:
        """Do work that is a transaction of its own on the writer's thread, in turn with the commands of all owners.

        It belongs to the caller of the current call, or else to the service itself. Raises as `submit` does.
        """
        owner = current_call.get().owner
        result: Result = await self._wait_for(owner, rows, reserved=owner == SERVICE_OWNER, work=work)
        return result

    async def _wait_for(self, owner: str, rows: int, **what: Any) -> Any:  # noqa: ANN401  fields of the work; its answer
        if self._closed:
            raise Draining
        loop, call = asyncio.get_running_loop(), current_call.get()
        since, deadline = loop.time(), call.deadline
        item = QueuedWork(loop.create_future(), owner, rows, size=call.size, since=since, deadline=deadline, **what)
        self._admission.check(item)
        self._queue.push(item)
        self._wake_event.set()
        try:
            return await self._waits.answer(item.caller)
        except StoreUnavailable:
            self._queue.remove(item)
            raise
        except asyncio.CancelledError:
            self._queue.remove(item)
            answered = item.caller.done() and not item.caller.cancelled() and item.caller.exception() is None
            if item.on_abandoned is not None and answered:
                item.on_abandoned(item.caller.result())
            raise

    def check_owner(self, owner: str) -> None:
        """Raise QueueFull when any command of an owner without a reserve would be refused."""
        self._admission.check_owner(owner, asyncio.get_running_loop().time())

    @property
    def is_stopped(self) -> bool:
        """Whether the database accepts no writes: it failed the last batch, or does not answer the current one."""
        if self.failed is not None:
            return True
        return self.busy_since is not None and asyncio.get_running_loop().time() > self.busy_since + self.stall

    @property
    def queued(self) -> int:
        """The number of waiting commands."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """The bytes of the requests of the waiting commands."""
        return self._queue.size

    def close(self) -> None:
        """Accept no more commands; `run` ends when the waiting ones are carried out."""
        self._closed = True
        self._wake_event.set()

    async def run(self) -> None:
        """Carry out commands until `close`. When it ends by an error, those who wait are refused."""
        batch: list[QueuedWork] = []
        try:
            while self._queue or not self._closed:
                batch = self._next_batch()
                if batch:
                    await self._carry_out(batch)
                elif not self._queue:
                    self._wake_event.clear()
                    await self._wake_event.wait()
        finally:
            self._closed = True
            _refuse(batch, StoreUnavailable)  # its outcome is unknown
            while self._queue:
                _refuse(self._queue.take(BATCH_BOUNDS), Draining)
            self._thread.shutdown(wait=True)

    def _next_batch(self) -> list[QueuedWork]:
        """Return the next batch; commands whose deadline has passed fail."""
        now, batch = asyncio.get_running_loop().time(), []
        for item in self._queue.take(BATCH_BOUNDS):
            if item.caller.done():
                continue
            if item.deadline is not None and item.deadline <= now:
                item.caller.set_exception(DeadlinePassedError())
            else:
                batch.append(item)
        return batch

    async def _carry_out(self, batch: Sequence[QueuedWork]) -> None:
        """Carry out the commands in one transaction, then each transaction of its own."""
        loop = asyncio.get_running_loop()
        more_waited = bool(self._queue)
        began = self.busy_since = loop.time()
        asked = [(item, item.command) for item in batch if item.command is not None]
        outcomes: Sequence[Outcome] = ()
        commits: Sequence[Commit] = ()
        if asked:
            commands = [command for _, command in asked]
            outcomes, commits = await loop.run_in_executor(self._thread, self._executor.run, commands)
            self._conclude([item for item, _ in asked], outcomes, commits)
            ended = loop.time()
            self._record(Batch(len(asked), ended - began, ended), outcomes, committed=bool(commits))
        for item in batch:
            if item.work is not None and not item.caller.done():
                await self._run_work(item, item.work)
        self.busy_since = None
        if commits or not asked:
            self._throughput.record(_cost_of(batch, outcomes), loop.time() - began, more_waited=more_waited)

    async def _run_work(self, item: QueuedWork, work: Callable[[], Any]) -> None:
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:  # noqa: BLE001  whatever it is, the caller gets it
            if not item.caller.done():
                item.caller.set_exception(error)
        else:
            if not item.caller.done():
                item.caller.set_result(result)

    def _record(self, batch: Batch, outcomes: Sequence[Outcome], *, committed: bool) -> None:
        if committed:
            self.last, self.failed = batch, None
        elif any(isinstance(outcome, StoreUnavailable) for outcome in outcomes):
            self.failed = batch.ended
        self._on_batch(batch)

    def _conclude(self, batch: Sequence[QueuedWork], outcomes: Sequence[Outcome], commits: Sequence[Commit]) -> None:
        for commit in commits:
            self._on_commit(commit)
        again, done = [], []
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Postponed):
                item.command = outcome.rest or item.command
                again.append(item)
                continue
            done.append(item)
            if item.caller.done():
                if item.on_abandoned is not None and not isinstance(outcome, Exception):
                    item.on_abandoned(outcome)
            elif isinstance(outcome, Exception):
                item.caller.set_exception(outcome)
            else:
                item.caller.set_result(outcome)
        if again:
            self._postpone(done, again)

    def _postpone(self, done: Sequence[QueuedWork], again: Sequence[QueuedWork]) -> None:
        """Put back what did not fit. The rest has filled the batch, and is charged for all of it."""
        self._queue.put_back([item for item in again if not item.caller.done()])
        unforeseen = BATCH_BOUNDS.rows - sum(item.rows for item in done)
        if unforeseen > 0:
            for item in done:
                self._queue.charge(item.owner, unforeseen // len(done))


def _refuse(works: Sequence[QueuedWork], error: Callable[[], Refusal]) -> None:
    """Raise an error at those who still wait."""
    for item in works:
        if not item.caller.done():
            item.caller.set_exception(error())


def _cost_of(batch: Sequence[QueuedWork], outcomes: Sequence[Outcome]) -> int:
    """Return the cost of the batch; one in which something did not fit was full, whatever its expected cost."""
    cost = sum(item.cost for item in batch)
    return max(cost, BATCH_BOUNDS.rows) if any(isinstance(outcome, Postponed) for outcome in outcomes) else cost
