"""One batch of commands in one transaction: load, decide each in turn, write, append to the ledger."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct as MsgStruct

from jobledger_service.core.codec import Codec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.clock import Clock
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.writes import ConflictError, StatementFailure
from jobledger_service.core.halving import Halving
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.history.measures import Measure, measured
from jobledger_service.core.model.history.terms import Point
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import Refusal, StoreUnavailable

from .batch_changes import BatchChanges
from .commands import Command
from .fleet_turns import FleetTurns
from .loaded_rows import LoadedRows
from .postponed import Postponed
from .row_families import Guard, OpenFamily, Projection, RowFamily
from .working_set import WorkingSet
from .writing import Transaction, WriteStore

log = structlog.get_logger(__name__)

ATTEMPTS = 5

Outcome = Any
"""A caller's answer, an exception to raise, or Postponed: the command moves to the next batch."""


class Commit(MsgStruct, frozen=True):
    """The result of committed batches: entries with their positions, changed jobs, waiting chunks, and what happened.

    `changes` counts the changes of the entries by kind and type; `measures` are what they took, by kind.
    """

    entries: Sequence[Entry] = ()
    touched: Sequence[str] = ()
    ready: dict[Queue, int] = {}
    due: Collection[type[RowFamily]] = ()
    """The families whose features may have work now."""
    changes: Mapping[tuple[str, ChangeType], int] = {}
    measures: Sequence[tuple[str, Measure, float]] = ()
    pauses: Mapping[Queue, int] = {}
    """The queues that were paused, with 0, or resumed, with the number of their waiting chunks."""
    rows: int = 0
    """The approximate number of changed rows of jobs and chunks."""


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
        families: Iterable[OpenFamily],
        quiet: int,
        calendar: Clock | None = None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._calendar = calendar or clock
        self._cursors = cursors
        self.families = [*families]
        self._quiet = quiet
        self._fleet_turns = FleetTurns()

    def run(self, commands: Sequence[Command[Any, Any]]) -> tuple[list[Outcome], list[Commit]]:
        """Carry out the commands; halving the batch finds one that the database rejects, which fails alone."""
        outcomes: list[Outcome] = []
        commits: list[Commit] = []
        parts = Halving(commands)
        for part in parts:
            try:
                of_part, commit = self._attempt(part)
            except Refusal as error:
                outcomes += [error.with_traceback(None)] * len(part)
            except ConflictError:
                outcomes += [StoreUnavailable()] * len(part)
            except Exception as error:
                if not parts.split(part):
                    log.exception("a command failed", command=type(part[0]).__name__)
                    outcomes.append(error)
            else:
                outcomes += of_part
                commits.append(commit)
        return outcomes, commits

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
            loaded = LoadedRows(transaction, self.families, self._fleet_turns)
            loaded.load([command.needs() for command in commands])
            # the time is read after the locks: not before what others have done to these jobs
            work = WorkingSet(loaded, self._codec, self._clock(), self._calendar())
            decided = [_decide(command, work) for command in commands]
            # the log refers to the working set, and would keep all rows in memory until the garbage collector runs
            work.undo.clear()
            work.fetch_inputs()
            changes = BatchChanges(self._codec, work.now, Micros(work.now - self._quiet), work.encoded)
            for delta in work.deltas.values():
                changes.add(delta)
            outcomes = [
                decision if isinstance(decision, Exception) else command.answer(decision, work)
                for command, decision in zip(commands, decided, strict=True)
            ]
            transaction.save(changes.writes)
            due = _save_families(loaded, changes)
            if unannounced := changes.ready_without_event | work.pauses:
                transaction.announce_ready(unannounced)
            entries = self._append(transaction, changes)
        counts = Counter([(delta.job.spec.kind, change.type) for delta in changes.recorded for change in delta.changes])
        # Not the records themselves: they would keep the rows of the batch in memory until its callers are answered.
        measures = [(delta.job.spec.kind, *measure) for delta in changes.recorded for measure in measured(delta)]
        touched = list(work.deltas)
        return outcomes, Commit(entries, touched, changes.ready, due, counts, measures, work.pauses, work.rows)

    def _append(self, transaction: Transaction, changes: BatchChanges) -> Sequence[Entry]:
        if not changes.entries:
            return []
        # all is encoded before positions are taken: others wait then
        first, commit_time = transaction.take_positions(changes.recorded, changes.entries, changes.now)
        entries = [
            self._codec.seal(
                entry, position, commit_time, self._cursors.encode_point(Point(position, transaction.term))
            )
            for position, entry in enumerate(changes.entries, first)
        ]
        transaction.insert_events(changes.recorded, entries, commit_time)
        return entries


def _save_families(loaded: LoadedRows, changes: BatchChanges) -> list[type[RowFamily]]:
    """Save the rows of families, by rank; return those whose features may have work after the commit."""
    due: list[type[RowFamily]] = []
    for family in loaded.families.values() if changes.deltas or loaded.has_families else ():
        if isinstance(family, Guard):
            family.save()
            if family.is_due:
                due.append(type(family))
        elif isinstance(family, Projection):
            family.save(changes)
    return due


def _decide(command: Command[Any, Any], work: WorkingSet) -> Outcome:
    """Return the answer, or the exception for the command's own caller; the command has then changed nothing.

    Without room for it the command is postponed, and comes first in the next batch.
    """
    work.undo.clear()
    try:
        work.begin(command.rows(work))
        return command.decide(work)
    except (Postponed, Refusal) as outcome:
        work.undo.rollback()
        # the exception is an answer: its frames would keep the whole batch in memory, in a cycle with it
        return outcome.with_traceback(None)
    except StatementFailure:
        raise  # the transaction is lost, with all its commands
    except Exception as error:
        work.undo.rollback()
        log.exception("a command failed", command=type(command).__name__)
        return error
