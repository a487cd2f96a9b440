"""One batch of commands in one transaction: load, decide each in turn, write, append to the ledger."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct as MsgStruct

from jobledger_service.core.model.change import ChangeType
from jobledger_service.core.model.errors import Refusal, StoreUnavailable

from .commands import Command, PartialResult
from .cursor import Cursor
from .entry import Entry, Record
from .feed_ports import Codec
from .ports import Clock, Queue
from .row_families import OpenFamily, RowFamily
from .working_set import MAX_BATCH_ROWS, PostponedError, WorkingSet
from .write_ports import ConflictError, Transaction, WriteStore

log = structlog.get_logger(__name__)

ATTEMPTS = 5


class Commit(MsgStruct, frozen=True):
    """The result of committed batches: entries with their positions, changed jobs, waiting chunks, and what happened.

    `changes` counts the changes of the entries by type.
    """

    entries: Sequence[Entry] = ()
    touched: Sequence[str] = ()
    ready: dict[Queue, int] = {}
    due: Collection[type[RowFamily]] = ()
    """The families of which there may be something to do now."""
    changes: Mapping[ChangeType, int] = {}
    rows: int = 0
    """The approximate number of changed rows of jobs and chunks."""


class Postponed(MsgStruct, frozen=True):
    """The outcome of a command that moves to the next batch; `rest` replaces it when a part is done."""

    rest: Command[Any, Any] | None = None


Outcome = Any
"""A caller's answer, an exception to raise, or Postponed."""


class Executor:
    """Carries out batches against the store; called on the writer's thread only.

    `families` are the rows that a batch has beside those of jobs and chunks.
    A job that has not changed for `quiet` microseconds is kept with its next event as it was before it.
    """

    def __init__(
        self,
        store: WriteStore,
        codec: Codec,
        clock: Clock,
        cursor: Callable[[int], Cursor],
        families: Sequence[OpenFamily],
        quiet: int,
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._cursor = cursor
        self._families = families
        self._quiet = quiet

    def run(self, commands: Sequence[Command[Any, Any]]) -> tuple[list[Outcome], list[Commit]]:
        """Carry out the commands; halving the batch finds one that the database rejects, which fails alone."""
        try:
            outcomes, commit = self._attempt(commands)
        except Refusal as error:
            return [error.with_traceback(None)] * len(commands), []
        except ConflictError:
            return [StoreUnavailable()] * len(commands), []
        except Exception as error:
            if len(commands) == 1:
                log.exception("a command fails", command=type(commands[0]).__name__)
                return [error], []
            middle = len(commands) // 2
            first, first_commits = self.run(commands[:middle])
            second, second_commits = self.run(commands[middle:])
            return first + second, first_commits + second_commits
        return outcomes, [commit]

    def _attempt(self, commands: Sequence[Command[Any, Any]]) -> tuple[list[Outcome], Commit]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._transact(commands)
            except ConflictError:
                if attempt == ATTEMPTS:
                    raise
                log.warning("the transaction lost a conflict and is retried", attempt=attempt)
        raise AssertionError("unreachable")

    def _transact(self, commands: Sequence[Command[Any, Any]]) -> tuple[list[Outcome], Commit]:
        with self._store.transaction() as transaction:
            work = WorkingSet(transaction, self._families, self._quiet, self._codec.segments)
            work.load([command.needs() for command in commands])
            work.now = self._clock()  # after the locks: not before what others have done to these jobs
            budget = _BatchBudget(work)
            decided = [budget.decide(command) for command in commands]
            work.keep()
            work.fetch_inputs()
            outcomes = [_answer(command, one, work) for command, one in zip(commands, decided, strict=True)]
            records = work.records()
            # before positions are taken: others wait then
            encoded = [self._codec.encode(record, work.segments(record.job.key)) for record in records]
            due = work.save()
            if unannounced := work.ready_without_event():
                transaction.announce_ready(unannounced)
            entries = self._append(transaction, records, encoded, work.now)
        changes = Counter(change.type for record in records for change in record.changes)
        return outcomes, Commit(entries, work.touched(), work.ready(), due, changes, work.rows)

    def _append(
        self, transaction: Transaction, records: Sequence[Record], encoded: Sequence[Entry], now: int
    ) -> Sequence[Entry]:
        if not encoded:
            return []
        transaction.insert_artifacts(records, encoded)
        first, commit_time = transaction.take_positions(len(encoded), now)
        entries = [
            self._codec.seal(entry, position, commit_time, self._cursor(position).encode())
            for position, entry in enumerate(encoded, first)
        ]
        transaction.insert_events(records, entries, commit_time)
        return entries


class _BatchBudget:
    """The remaining rows of one batch: one command that is larger than a batch, and a number of rows for all others."""

    def __init__(self, work: WorkingSet) -> None:
        self._work = work
        self._rows = MAX_BATCH_ROWS
        self._has_large = False

    def decide(self, command: Command[Any, Any]) -> Outcome:
        """Decide a command if there is room for it. A postponed one comes first in the next batch."""
        work, rows = self._work, command.rows(self._work)
        is_large = rows > MAX_BATCH_ROWS
        if self._has_large if is_large else rows > self._rows:
            return Postponed()
        begun, work.row_budget = work.rows, self._rows
        decided = _decide(command, work)
        if begun and work.exceeded:
            work.rollback()
            return Postponed()
        work.exceeded = False
        if is_large:
            self._has_large = True
        else:
            self._rows -= work.rows - begun
        return Postponed(decided.rest) if isinstance(decided, PartialResult) else decided


def _decide(command: Command[Any, Any], work: WorkingSet) -> Outcome:
    """Return the answer, or the exception for the command's own caller; the command has then changed nothing."""
    work.mark()
    try:
        return command.decide(work)
    except PostponedError:
        work.rollback()
        return Postponed()
    except Refusal as refusal:
        work.rollback()
        # the exception is an answer: its frames would keep the whole batch in memory, in a cycle with it
        return refusal.with_traceback(None)
    except Exception as error:
        work.rollback()
        log.exception("a command fails", command=type(command).__name__)
        return error


def _answer(command: Command[Any, Any], decided: Outcome, work: WorkingSet) -> Outcome:
    if isinstance(decided, Exception | Postponed):
        return decided
    return command.answer(decided, work)
