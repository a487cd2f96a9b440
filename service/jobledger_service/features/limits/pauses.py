"""The paused kinds of one batch: those of the owners that pause or resume some."""

from collections.abc import Mapping, Sequence
from typing import Final

from jobledger_service.core.ledger.row_families import Needs, OpenFamily, RowFamily, keys_of
from jobledger_service.core.ledger.undo import Undo
from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.limit_errors import TooManyPausedKinds
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.paused_kinds import PausedKind, PausedKindRows
from jobledger_service.core.store.writing import Transaction

MAX_PAUSED_KINDS: Final = 1_000
"""Paused kinds of an owner."""


def pause_key(owner: str, kind: str) -> str:
    """Return the key by which a command names a kind that it pauses or resumes."""
    return f"{owner}/{kind}"


def paused_kinds_family(dialect: Dialect) -> OpenFamily:
    """Return the family of paused kinds."""
    rows = PausedKindRows(dialect)
    return lambda transaction, undo: PausedKinds(rows, transaction, undo)


class PausedKinds(RowFamily):
    """Paused kinds by queue, as the commands so far left them; None for one that was resumed."""

    rank = 7

    def __init__(self, rows: PausedKindRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._before: Mapping[Queue, PausedKind] = {}
        self._now: dict[Queue, PausedKind | None] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:  # noqa: ARG002  it is about no job
        """Load all paused kinds of the owners that commands name, at most MAX_PAUSED_KINDS each."""
        if owners := {owner_of(key) for key in keys_of(PausedKinds, needs)}:
            self._before = self._rows.lock(self._connection, owners)
            self._now = dict(self._before)

    def find(self, queue: Queue) -> PausedKind | None:
        """Return a paused kind, None for one that is not paused."""
        return self._now.get(queue)

    def waiting(self, queue: Queue) -> int:
        """Return how many chunks of a kind are pending."""
        return self._rows.waiting(self._connection, queue)

    def check_room(self, owner: str) -> None:
        """Raise TooManyPausedKinds when an owner has as many as it may."""
        if sum(pause is not None for (one, _), pause in self._now.items() if one == owner) >= MAX_PAUSED_KINDS:
            raise TooManyPausedKinds(MAX_PAUSED_KINDS)

    def put(self, queue: Queue, pause: PausedKind | None) -> None:
        """Pause a kind, or with None resume it."""
        self._undo.put(self._now, queue, pause)

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it is about no job
        """Write what changed."""
        self._rows.save(self._connection, self._before, self._now)
        return False
