"""One batch of commands in one transaction: load, decide each in turn, write, append to the ledger."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct as MsgStruct

from jobledger_service.core.codec import Codec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.clock import Clock
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.writes import ConflictError, StatementFailure
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.history.terms import Point
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import Refusal, StoreUnavailable

from .batch_changes import BatchChanges
from .commands import Command, PartialResult
from .fleet_turns import FleetTurns
from .loaded_rows import LoadedRows
from .row_families import OpenFamily, PostponedError, RowFamily
from .working_set import MAX_BATCH_ROWS, WorkingSet
from .writing import Transaction, WriteStore

log = structlog.get_logger(__name__)

ATTEMPTS = 5


class Commit(MsgStruct, frozen=True):
    """The result of committed batches: entries with their positions, changed jobs, waiting chunks, and what happened.

    `changes` counts the changes of the entries by kind and type.
    """

    entries: Sequence[Entry] = ()
    touched: Sequence[str] = ()
    ready: dict[Queue, int] = {}
    due: Collection[type[RowFamily]] = ()
    """The families of which there may be something to do now."""
    changes: Mapping[tuple[str, ChangeType], int] = {}
    pauses: Mapping[Queue, int] = {}
    """The queues that were paused, and those that were resumed with so many waiting chunks."""
    rows: int = 0
    """The approximate number of changed rows of jobs and chunks."""


class Postponed(MsgStruct, frozen=True):
    """The outcome of a command that moves to the next batch; `rest` replaces it when a part is done."""

    rest: Command[Any, Any] | None = None


Outcome = Any
"""A caller's answer, an exception to raise, or Postponed."""


class Executor:
    """Carries out batches against the store; called on the writer's thread only.

    `families` are the rows that a batch has beside those of jobs and chunks. A job that has not changed for `quiet`
    microseconds is kept with its next event as it was before it. Dates have come by the `calendar`, without one by the
    clock.
    """

    def __init__(
        self,
        store: WriteStore,
        codec: Codec,
        clock: Clock,
        cursors: Cursors,
        families: Sequence[OpenFamily],
        quiet: int,
        calendar: Clock | None = None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._calendar = calendar or clock
        self._cursors = cursors
        self._families = families
        self._quiet = quiet
        self._fleet_turns = FleetTurns()

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
            loaded = LoadedRows(transaction, self._families, self._fleet_turns)
            loaded.load([command.needs() for command in commands])
            # the time is read after the locks: not before what others have done to these jobs
            work = WorkingSet(loaded, self._codec, self._clock(), self._calendar())
            decided = _decide_all(commands, work)
            # the log refers to the working set, and would keep all rows in memory until the garbage collector runs
            work.undo.clear()
            work.fetch_inputs()
            left = BatchChanges(self._codec, Micros(work.now - self._quiet), work.encoded)
            for key, touched in work.touched.items():
                left.add(key, touched, work.last(key))
            outcomes = [
                one if isinstance(one, Exception | Postponed) else command.answer(one, work)
                for command, one in zip(commands, decided, strict=True)
            ]
            transaction.save(left.writes)
            families = loaded.families.values() if left.deltas or loaded.has_families else ()
            due = [type(family) for family in families if family.save(left.deltas, work.now)]
            if unannounced := left.ready_without_event | work.pauses:
                transaction.announce_ready(unannounced)
            entries = self._append(transaction, left, work.now)
        changes = Counter([(record.job.spec.kind, change.type) for record in left.records for change in record.changes])
        return outcomes, Commit(entries, list(work.touched), left.ready, due, changes, work.pauses, work.rows)

    def _append(self, transaction: Transaction, left: BatchChanges, now: Micros) -> Sequence[Entry]:
        if not left.entries:
            return []
        # all is encoded before positions are taken: others wait then
        first, commit_time = transaction.take_positions(left.records, left.entries, now)
        entries = [
            self._codec.seal(
                entry, position, commit_time, self._cursors.encode_point(Point(position, transaction.term))
            )
            for position, entry in enumerate(left.entries, first)
        ]
        transaction.insert_events(left.records, entries, commit_time)
        return entries


def _decide_all(commands: Sequence[Command[Any, Any]], work: WorkingSet) -> list[Outcome]:
    """Decide each command for which there is room; the postponed ones come first in the next batch.

    A batch has room for one command that is larger than a batch, and for a number of rows of all others.
    """
    outcomes: list[Outcome] = []
    work.row_budget, has_large = MAX_BATCH_ROWS, False
    for command in commands:
        rows, begun = command.rows(work), work.rows
        is_large = rows > MAX_BATCH_ROWS
        if has_large if is_large else rows > work.row_budget:
            outcomes.append(Postponed())
            continue
        decided = _decide(command, work)
        if begun and work.exceeded:
            work.undo.rollback()
            outcomes.append(Postponed())
            continue
        work.exceeded = False
        if is_large:
            has_large = True
        else:
            work.row_budget -= work.rows - begun
        outcomes.append(Postponed(decided.rest) if isinstance(decided, PartialResult) else decided)
    return outcomes


def _decide(command: Command[Any, Any], work: WorkingSet) -> Outcome:
    """Return the answer, or the exception for the command's own caller; the command has then changed nothing."""
    work.undo.clear()
    try:
        return command.decide(work)
    except PostponedError:
        work.undo.rollback()
        return Postponed()
    except Refusal as refusal:
        work.undo.rollback()
        # the exception is an answer: its frames would keep the whole batch in memory, in a cycle with it
        return refusal.with_traceback(None)
    except StatementFailure:
        raise  # the transaction is lost, with all its commands
    except Exception as error:
        work.undo.rollback()
        log.exception("a command fails", command=type(command).__name__)
        return error
