"""Jobs as of an earlier position: unchanged ones from their rows, the others from the ledger."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct as MsgStruct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal,
    null,
    select,
    true,
    tuple_,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.engines import Database, position_of
from jobledger_service.core.database.rows.artifact_versions import previous_bytes, with_artifacts
from jobledger_service.core.database.rows.job_rows import WHOLE_JOBS
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.tables import (
    artifact_versions,
    counts,
    counts_of_all,
    events,
    jobs,
    ledger,
    tombstones,
)
from jobledger_service.core.model.filters.filter import JobFilter, TimeRange
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import HistoryTrimmed
from jobledger_service.core.read.routes import all_tests, parameters
from jobledger_service.core.read.walks import condition

MAX_PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the job that makes it this large: an export that is not read keeps a page in memory."""
MAX_COUNTED: Final = 100_000
"""Jobs of a span of time that are counted for the progress of an export."""
_SEGMENTS: Final = (jobs.c.job_key, jobs.c.fixed, jobs.c.moving, artifact_versions.c.encoded, jobs.c.artifacts_revision)
_TRIMMED_TO = select(ledger.c.trimmed)

_TRIMMED: Final = "the history since the export began was trimmed: begin the export again"


class ExportKey(NamedTuple):
    """The place of a job in an export: the time of its creation, then its key."""

    create_time: Micros
    job_key: str


BEGIN: Final = ExportKey(Micros(0), "")


class ExportedJob(MsgStruct, frozen=True):
    """A job of a page: encoded, when it matches and has not changed since; or the event that shows it as it was.

    An unreadable job has its error.
    """

    place: ExportKey
    job: bytes = b""
    event: EventRow | None = None
    error: Exception | None = None


class ExportPage(MsgStruct, frozen=True):
    """Jobs that match, or may match, oldest first; `through` is the last place read, None after the last job.

    `looked_at` counts those of the jobs read that still exist.
    """

    shown: Sequence[ExportedJob]
    through: ExportKey | None
    looked_at: int


class _Candidate(MsgStruct, frozen=True):
    """A job that has, or had, a place: `changed` when the ledger must be read for it."""

    place: ExportKey
    exists: bool
    changed: bool
    matches: bool
    size: int


class _EventSource(MsgStruct, frozen=True):
    """The event that shows a job as it was: in its message, or as the job before; `size` in bytes."""

    position: int
    before: bool
    size: int


class SqlExportStore:
    """The reads of an export. Every method is one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.history = database.history
        self._rows = select(*_SEGMENTS).select_from(WHOLE_JOBS).where(jobs.c.job_key.in_(database.dialect.keys()))
        self._around = _around(database.dialect)

    def start_export(self, filter_: JobFilter) -> tuple[int, int]:
        """Return the start of an export: the ledger's position, and the number of jobs to read."""
        with self._database.exports.read() as connection:
            return position_of(connection), self._count(connection, filter_)

    def _count(self, connection: Connection, filter_: JobFilter) -> int:
        """Return the number of jobs to read; when those of a span are many, all of the owner's."""
        if filter_.create_time != TimeRange():
            span = select(literal(1)).select_from(jobs).where(*_span(jobs, filter_.owner, *_bounds(filter_)))
            counted = select(func.count()).select_from(span.limit(MAX_COUNTED + 1).subquery())
            if (count := int(connection.execute(counted).scalar_one())) <= MAX_COUNTED:
                return count
        all_jobs = select(func.coalesce(func.sum(counts.c.jobs), 0)).where(
            counts.c.owner == filter_.owner, counts_of_all
        )
        return int(connection.execute(all_jobs).scalar_one())

    def export_page(self, filter_: JobFilter, position: int, after: ExportKey, limit: int) -> ExportPage:
        """Return the jobs after a place as of a position; raises HistoryTrimmed when that is not known."""
        with self._database.exports.read() as connection:
            trimmed = connection.execute(_TRIMMED_TO).scalar_one()
            if trimmed > position:
                raise HistoryTrimmed(trimmed, _TRIMMED)
            candidates, more = self._candidates(connection, filter_, position, after, limit)
            sources = self._sources(connection, candidates, position, trimmed)
            page = _some_of(candidates, sources)
            shown = self._shown(connection, page, sources)
        through = page[-1].place if more or len(page) < len(candidates) else None
        return ExportPage(shown, through, sum(candidate.exists for candidate in page))

    def _candidates(
        self, connection: Connection, filter_: JobFilter, position: int, after: ExportKey, limit: int
    ) -> tuple[list[_Candidate], bool]:
        """Return the next jobs that exist, or were deleted since the position, and whether there are more."""
        begin, end = _bounds(filter_)
        after = max(after, begin)
        dialect, tests = self._database.dialect, all_tests(filter_)
        walk = _walk(filter_.owner, sorted(tests), dialect, position, after, end).limit(limit + 1)
        candidates = {}
        for create_time, key, changed, matches, size in connection.execute(walk, parameters(tests, dialect)):
            place = ExportKey(create_time, key)
            candidates[place] = _Candidate(place, exists=True, changed=bool(changed), matches=bool(matches), size=size)
        more = len(candidates) > limit
        deleted = _deleted_jobs(filter_.owner, position, after, max(candidates) if more else end).limit(limit + 1)
        for place in (ExportKey(*row) for row in connection.execute(deleted)):
            candidates.setdefault(place, _Candidate(place, exists=False, changed=True, matches=False, size=0))
        return [candidates[place] for place in sorted(candidates)[:limit]], len(candidates) > limit

    def _sources(
        self, connection: Connection, candidates: Sequence[_Candidate], position: int, trimmed: int
    ) -> dict[str, _EventSource]:
        """Return, by key, the events that show changed jobs as they were; jobs that did not exist have no event."""
        changed = {candidate.place.job_key for candidate in candidates if candidate.changed}
        if not changed:
            return {}
        arguments = {"keys": self._database.dialect.key_values(changed), "position": position}
        around = connection.execute(self._around, arguments).all()
        positions = [place for _, *places in around for place in places if place is not None]
        events_at = {row.position: row for row in connection.execute(_looked_up(positions))}
        sources = {}
        for key, last, first in around:
            if last is not None:
                sources[key] = _EventSource(last, before=False, size=events_at[last].size)
            elif (event := events_at[first]).previous is not None:
                size = event.previous + previous_bytes(event.artifacts)
                sources[key] = _EventSource(first, before=True, size=size)
            elif not event.created:
                raise HistoryTrimmed(trimmed, _TRIMMED)
        return sources

    def _shown(
        self, connection: Connection, page: Sequence[_Candidate], sources: dict[str, _EventSource]
    ) -> list[ExportedJob]:
        unchanged = [candidate.place.job_key for candidate in page if candidate.matches and not candidate.changed]
        segments = connection.execute(self._rows, {"keys": self._database.dialect.key_values(unchanged)}).all()
        rows = {row[0]: row[1:] for row in segments}
        changed = [candidate.place.job_key for candidate in page if candidate.changed]
        stored = _stored(connection, [sources[key] for key in changed if key in sources])
        shown = []
        for candidate in page:
            key = candidate.place.job_key
            if candidate.changed and key in stored:
                shown.append(ExportedJob(candidate.place, event=stored[key]))
            elif not candidate.changed and key in rows:
                shown.append(_unchanged(candidate.place, *rows[key]))
        return shown


def _unchanged(
    place: ExportKey, fixed: bytes, moving: bytes, artifacts: bytes | None, artifacts_revision: int | None
) -> ExportedJob:
    """Return a job as its row has it, in segments."""
    if artifacts is None and artifacts_revision is not None:
        return ExportedJob(place, error=ValueError("the artifacts are missing"))
    return ExportedJob(place, job=fixed + (artifacts or b"") + moving)


def _bounds(filter_: JobFilter) -> tuple[ExportKey, ExportKey | None]:
    """Return the places between which all jobs are that a filter can mean."""
    end = filter_.create_time.end
    return ExportKey(filter_.create_time.start or Micros(0), ""), None if end is None else ExportKey(end, "")


def _span(table: Table, owner: str, after: ExportKey, through: ExportKey | None) -> list[ColumnElement[bool]]:
    """Return the conditions of a walk from one place to another: whole places, by which an index is entered."""
    place = tuple_(table.c.create_time, table.c.job_key)
    conditions = [table.c.owner == owner, place > tuple(after)]
    return conditions if through is None else [*conditions, place <= tuple(through)]


def _walk(
    owner: str, tests: Iterable[str], dialect: Dialect, position: int, after: ExportKey, end: ExportKey | None
) -> Select[Any]:
    """Return the walk over the jobs: place, the first change after the position, whether it matches now, its size."""
    since = select(func.min(events.c.position)).where(events.c.job_key == jobs.c.job_key, events.c.position > position)
    artifacts = func.coalesce(func.length(artifact_versions.c.encoded), 0)
    size = func.length(jobs.c.fixed) + func.length(jobs.c.moving) + artifacts
    return (
        select(
            jobs.c.create_time,
            jobs.c.job_key,
            since.scalar_subquery().label("changed"),
            and_(true(), *(condition(name, dialect) for name in tests)).label("matches"),
            size.label("size"),
        )
        .select_from(WHOLE_JOBS)
        .where(*_span(jobs, owner, after, end))
        .order_by(jobs.c.create_time, jobs.c.job_key)
    )


def _deleted_jobs(owner: str, position: int, after: ExportKey, through: ExportKey | None) -> Select[Any]:
    """Return the walk over the jobs that were deleted after the position."""
    return (
        select(tombstones.c.create_time, tombstones.c.job_key)
        .where(*_span(tombstones, owner, after, through), tombstones.c.position > position)
        .order_by(tombstones.c.create_time, tombstones.c.job_key)
    )


def _around(dialect: Dialect) -> Select[Any]:
    """Return, for each of some jobs, its last event up to a position, and its first one after it."""
    keys = dialect.keys().subquery("keys")
    key = keys.c[0]
    of_job = events.c.job_key == key
    position: ColumnElement[int] = bindparam("position", type_=BigInteger)
    last = select(func.max(events.c.position)).where(of_job, events.c.position <= position)
    first = select(func.min(events.c.position)).where(of_job, events.c.position > position)
    return select(key, last.scalar_subquery().label("last"), first.scalar_subquery().label("first"))


def _looked_up(positions: Iterable[int]) -> Select[Any]:
    return select(
        events.c.position,
        (func.length(events.c.message) + events.c.artifacts_bytes).label("size"),
        events.c.artifacts,
        events.c.before.is_(null()).label("created"),
        func.length(events.c.previous).label("previous"),
    ).where(events.c.position.in_(positions))


def _some_of(candidates: Sequence[_Candidate], sources: dict[str, _EventSource]) -> Sequence[_Candidate]:
    """Return the first candidates, as many as are taken at once: at least one, if there is one."""
    size = 0
    for count, candidate in enumerate(candidates, 1):
        source = sources.get(candidate.place.job_key)
        size += candidate.size if not candidate.changed else source.size if source else 0
        if size >= MAX_PAGE_BYTES:
            return candidates[:count]
    return candidates


def _stored(connection: Connection, needed: Sequence[_EventSource]) -> dict[str, EventRow]:
    """Return, by key, the events that show jobs as they were."""
    stored: dict[str, EventRow] = {}
    for before, column in ((False, events.c.message), (True, events.c.previous)):
        positions = [source.position for source in needed if source.before is before]
        if positions:
            row = (events.c.position, events.c.job_key, column, literal(None), events.c.artifacts)
            rows = connection.execute(select(*row).where(events.c.position.in_(positions))).all()
            stored.update((event.job_key, event) for event in with_artifacts(connection, rows, before=before))
    return stored
