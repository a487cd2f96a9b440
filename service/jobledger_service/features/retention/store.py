"""Old events, requests and audit trails in the database."""

from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.artifact_versions import forget_versions
from jobledger_service.core.database.rows.deleted_jobs import MAX_TRIM_BYTES, trim_deleted
from jobledger_service.core.database.rows.event_terms import EventTerms, forget_terms
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import (
    audit,
    deleted_outputs,
    events,
    ledger,
    outputs,
    requests,
    terms,
    tombstones,
)

MAX_AUDIT_BYTES = 256 * 1024
"""A step deletes audit trails up to the entry at this size: each of its changes has terms."""

TOMBSTONES_PER_STEP = 50
"""The number of deleted jobs whose audit trail one step checks."""

_AUDITED = ("job_key", "position", "commit_time", "changes")
_KEPT = (*_AUDITED, "message", "artifacts")


class SqlHistoryStore:
    """Deletes old events, requests and audit trails.

    Each call is one transaction, and one server at a time makes it.

    `reduce` takes an event's position and message and returns what the audit trail keeps, None for nothing. `terms`
    returns what the event's terms are made from, None when it cannot be read.
    """

    def __init__(
        self,
        database: Database,
        reduce: Callable[[int, bytes], bytes | None],
        terms: Callable[[int, bytes], EventTerms | None],
    ) -> None:
        self._database = database
        self._reduce = reduce
        self._terms = terms
        self._row_sets = RowSets(database.dialect)

    def trim_events(self, before: int, limit: int) -> int | None:
        """Delete at most `limit` of the oldest events committed before a time; return the newest deleted position.

        Their audit part moves to the audit trail.
        """
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim"):
                return None
            old = list(takewhile(lambda event: event.commit_time < before, _oldest(connection, before, limit)))
            if not old:
                return None
            old = [*forget_versions(connection, old)]
            self._keep(connection, old)
            newest: int = old[-1].position
            connection.execute(delete(events).where(events.c.position <= newest))
            # Last, as commits wait for this row; both are seen together.
            connection.execute(update(ledger).where(ledger.c.id == 1).values(trimmed=newest))
            connection.execute(delete(terms).where(terms.c.first_position < _term_at(newest)))
            return newest

    def _keep(self, connection: Connection, old: Sequence[Any]) -> None:
        rows = [
            {**{name: getattr(event, name) for name in _AUDITED}, "message": reduced}
            for event in old
            if (reduced := self._reduce(event.position, event.message)) is not None
        ]
        self._row_sets.insert(connection, audit, rows)

    def trim_requests(self, before: int, limit: int) -> int:
        """Delete at most `limit` requests that expired before a time; return how many."""
        old = select(requests.c.request_key).where(requests.c.expire_time < before).limit(limit)
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim requests"):
                return 0
            return connection.execute(delete(requests).where(requests.c.request_key.in_(old))).rowcount

    def trim_outputs(self, limit: int) -> bool:
        """Delete at most `limit` outputs of deleted jobs, fewer when they are large; return whether there are more."""
        return trim_deleted(self._database, select(deleted_outputs), deleted_outputs, outputs, limit)

    def trim_audit(self, before: int, limit: int) -> int:
        """Delete at most `limit` entries of the audit trails of jobs deleted before a time; return their number.

        A trail stays while the history has events of its job.
        """
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim audit"):
                return 0
            gone, size = 0, 0
            for tombstone in takewhile(
                lambda tombstone: tombstone.delete_time < before, _oldest_tombstones(connection)
            ):
                trail = audit.c.job_key == tombstone.job_key, audit.c.position <= tombstone.position
                entries = (
                    select(audit.c.position, func.length(audit.c.message)).where(*trail).order_by(audit.c.position)
                )
                sized = connection.execute(entries.limit(limit - gone)).all()
                sizes = accumulate((length for _, length in sized), initial=size)
                old = [entry for entry, preceding in zip(sized, sizes, strict=False) if preceding < MAX_AUDIT_BYTES]
                if old:
                    whole = trail[0], audit.c.position <= old[-1][0]
                    rows = connection.execute(select(audit.c.position, audit.c.message).where(*whole))
                    read = [self._terms(position, message) for position, message in rows]
                    forget_terms(connection, self._row_sets, (event for event in read if event is not None))
                    connection.execute(delete(audit).where(*whole))
                gone, size = gone + len(old), size + sum(length for _, length in old)
                if gone >= limit or size >= MAX_AUDIT_BYTES:
                    break
                connection.execute(delete(tombstones).where(tombstones.c.position == tombstone.position))
                gone += 1
            return gone


def _term_at(position: int) -> Any:  # noqa: ANN401  an SQL expression
    """Return where the term of a position began."""
    return select(func.max(terms.c.first_position)).where(terms.c.first_position <= position).scalar_subquery()


def _oldest(connection: Connection, before: int, limit: int) -> list[Any]:
    """Return the oldest events, fewer when they are large; an empty list when the first is not before a time."""
    first = select(events.c.commit_time).order_by(events.c.position).limit(1)
    since = connection.execute(first).scalar()
    if since is None or since >= before:
        return []
    size = func.length(events.c.message) + events.c.artifacts_bytes
    measured = (
        select(events.c.position, (func.sum(size).over(order_by=events.c.position) - size).label("bytes_before"))
        .order_by(events.c.position)
        .limit(limit)
        .subquery()
    )
    oldest = (
        select(*(events.c[name] for name in _KEPT))
        .join_from(measured, events, events.c.position == measured.c.position)
        .where(measured.c.bytes_before < MAX_TRIM_BYTES)
        .order_by(measured.c.position)
    )
    return list(connection.execute(oldest))


def _oldest_tombstones(connection: Connection) -> list[Any]:
    """Return the tombstones of jobs whose whole history was trimmed, oldest first."""
    trimmed = select(ledger.c.trimmed).scalar_subquery()
    oldest = select(tombstones.c.position, tombstones.c.job_key, tombstones.c.delete_time)
    trimmed_jobs = (
        oldest.where(tombstones.c.position <= trimmed).order_by(tombstones.c.position).limit(TOMBSTONES_PER_STEP)
    )
    return list(connection.execute(trimmed_jobs))
