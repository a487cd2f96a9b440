"""Figures by kind, over all owners: of a bounded number of kinds, from a bounded number of rows."""

from typing import Any, Final

from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, Select, bindparam, func, literal, select, union_all

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import counts, jobs, sized, waiting_jobs, waiting_since
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS
from jobledger_service.core.model.states import ENDED, JobState

_UNFINISHED: Final = sorted(set(JobState) - ENDED)


class KindFigures(MsgStruct):
    """The QUEUED jobs of a kind, its chunks, its artifacts, and since when the oldest claimable job waits."""

    jobs_queued: int = 0
    chunks_pending: int = 0
    chunks_processing: int = 0
    artifact_bytes: int = 0
    waiting_since: Micros | None = None


class KindFiguresReader:
    """The statements that read figures by kind; each reads a bounded number of rows for each shown kind."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._largest = [_largest(states) for states in (_UNFINISHED, sorted(ENDED))]
        numbers = (counts.c.jobs, counts.c.chunks_pending, counts.c.chunks_processing, counts.c.artifact_bytes)
        self._numbers = select(counts.c.kind, counts.c.state, *numbers).where(
            counts.c.owner == ALL_OWNERS, counts.c.kind.in_(dialect.keys())
        )
        shown_kinds = dialect.keys().subquery("shown")
        oldest = (
            select(waiting_since)
            .where(jobs.c.kind == shown_kinds.c[0], waiting_jobs)
            .order_by(waiting_since)
            .limit(1)
            .correlate(shown_kinds)
        )
        self._oldest = select(shown_kinds.c[0], oldest.scalar_subquery())

    def read(self, connection: Connection, limit: int) -> dict[str, KindFigures]:
        """Return the figures of at most `limit` kinds, and those of all kinds together under ALL_KINDS.

        The kinds are those with the most jobs that have not ended, to an order of magnitude, then those with the most
        that have.
        """
        kinds: dict[str, None] = {}
        for largest in self._largest:
            if len(kinds) < limit:
                kinds |= dict.fromkeys(connection.execute(largest, {"limit": limit}).scalars())
        shown = list(kinds)[:limit]
        figures = {kind: KindFigures() for kind in (*shown, ALL_KINDS)}
        keys = {"keys": self._dialect.key_values(figures)}
        for kind, state, queued, pending, processing, stored in connection.execute(self._numbers, keys):
            kind_figures = figures[kind]
            kind_figures.jobs_queued += queued if state == JobState.QUEUED else 0
            kind_figures.chunks_pending += pending
            kind_figures.chunks_processing += processing
            kind_figures.artifact_bytes += stored
        for kind, since in connection.execute(self._oldest, {"keys": self._dialect.key_values(shown)}):
            figures[kind].waiting_since = since
        return figures


def _largest(states: list[JobState]) -> Select[Any]:
    """Return the statement of the kinds with the most jobs in some states, `limit` of each state, the largest first."""
    parts = [
        select(
            select(counts.c.kind, counts.c.size)
            .where(counts.c.state == literal(state.value), sized)
            .order_by(counts.c.size.desc(), counts.c.kind)
            .limit(bindparam("limit"))
            .subquery()
        )
        for state in states
    ]
    largest = union_all(*parts).subquery("largest")
    return select(largest.c.kind).group_by(largest.c.kind).order_by(func.max(largest.c.size).desc(), largest.c.kind)
