"""The rows of failures: counted in the transaction in which runs fail, summed over a span, and deleted when too old."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import BigInteger, Connection, Integer, bindparam, cast, delete, func, select, tuple_, union_all

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import jobs
from jobledger_service.core.model.job import job_id_of, job_key

from . import failures as reasons
from .tables import failures

MAX_ROWS: Final = 50_000
"""The most rows that are summed up: 400 days of one kind have 12,400, if all days have all groups that they may."""

_COLUMNS: Final = ("kind_key", "hours", "hour", "error_code", "stage", "count", "newest")


def add_failures(connection: Connection, dialect: Dialect, counts: reasons.FailureCounts) -> None:
    """Add to failures, in the order of keys; a batch in which no run failed does nothing.

    Batches of one owner that add to the same periods take turns, as each has changed the count of his FAILED jobs.
    """
    if not counts:
        return
    kept = reasons.bounded(counts, _known(connection, dialect, counts.keys()))
    rows = [
        dict(zip(_COLUMNS, (*period, *group, *counted), strict=True))
        for period, groups in sorted(kept.items())
        for group, counted in sorted(groups.items())
    ]
    RowSets(dialect).add(connection, failures, rows)


def _known(
    connection: Connection, dialect: Dialect, periods: Collection[reasons.Period]
) -> dict[reasons.Period, set[reasons.Group]]:
    """Return the groups of these periods."""
    period_keys = dialect.chunk_keys()
    statement = select(*(failures.c[name] for name in _COLUMNS[:5])).where(
        failures.c.kind_key == period_keys.c.job_key,
        failures.c.hour == period_keys.c.chunk_index,
        failures.c.hours.in_(reasons.PERIODS),
    )
    keys = sorted({(key, hour) for key, _, hour in periods})
    known: dict[reasons.Period, set[reasons.Group]] = {}
    for key, hours, hour, code, stage in connection.execute(statement, dialect.chunk_key_values(keys)):
        known.setdefault((key, hours, hour), set()).add((code, stage))
    return known


class FailureReader:
    """The statements that sum failures up, built once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        parts = [
            select(failures.c.error_code, failures.c.stage, failures.c["count"], failures.c.newest).where(
                failures.c.kind_key.in_(dialect.keys()),
                failures.c.hours == length,
                failures.c.hour >= bindparam(f"start{place}", type_=Integer),
                failures.c.hour < bindparam(f"stop{place}", type_=Integer),
            )
            for place, (length, _) in enumerate(reasons.periods_of(range(0)))
        ]
        looked_at = union_all(*reversed(parts)).limit(MAX_ROWS).subquery()
        group, count = (looked_at.c.error_code, looked_at.c.stage), func.sum(looked_at.c["count"])
        self._largest = (
            select(*group, cast(count, BigInteger), func.max(looked_at.c.newest), func.count().over())
            .group_by(*group)
            .order_by(count.desc(), *group)
            .limit(reasons.MAX_SHOWN)
        )
        self._existing = select(jobs.c.job_key, jobs.c.create_time).where(jobs.c.job_key.in_(dialect.keys()))

    def read(self, connection: Connection, owner: str, kinds: Collection[str], hours: range) -> reasons.FailureGroups:
        """Return the largest groups of kinds in a span: of its newest hours, then days, first if there are many."""
        parameters = {"keys": self._dialect.key_values(reasons.kind_key(owner, kind) for kind in kinds)}
        for place, (_, part) in enumerate(reasons.periods_of(hours)):
            parameters |= {f"start{place}": part.start, f"stop{place}": part.stop}
        groups = connection.execute(self._largest, parameters).all()
        if not groups:
            return reasons.FailureGroups()
        examples = self._examples(connection, owner, [mark for *_, mark, _ in groups])
        shown = tuple(
            reasons.FailureGroup(code, stage, n, examples.get(mark, "")) for code, stage, n, mark, _ in groups
        )
        return reasons.FailureGroups(shown, groups[0][-1] - len(groups))

    def _examples(self, connection: Connection, owner: str, marks: Collection[str]) -> dict[str, str]:
        """Return, by mark, the jobs that still exist. One that was created since under the same id is another."""
        failed = {mark: reasons.parse_mark(mark) for mark in marks}
        keys = self._dialect.key_values({job_key(owner, job_id) for job_id, _ in failed.values()})
        existing = connection.execute(self._existing, {"keys": keys})
        created = {job_id_of(key): time for key, time in existing}
        return {mark: job_id for mark, (job_id, time) in failed.items() if created.get(job_id, time + 1) <= time}


def trim_failures(connection: Connection, before: int, limit: int) -> int:
    """Delete at most `limit` rows of periods that were over before an hour, since 1970; return their number."""
    old = select(*failures.primary_key).where(failures.c.hour <= bindparam("last")).limit(bindparam("limit"))
    gone = delete(failures).where(tuple_(*failures.primary_key).in_(old))
    return connection.execute(gone, {"last": before - reasons.DAY_HOURS, "limit": limit}).rowcount
