"""Corrects derived rows: counts, words, bytes of artifacts, terms of events, label indexes, and tables of features.

A commit changes a job and what is counted of it together, so that it does not change by how much a count is wrong. One
statement, which sees one snapshot, finds the difference between the jobs and the count; the difference is then added.
So the outcome is exact whatever other servers write meanwhile, and no count is locked while jobs are being read. Words
and bytes of artifacts are compared first, in pages of jobs that are locked, in the order of their keys; terms: see
term_recount.py.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct as MsgStruct
from msgspec import field
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
)

from jobledger_service.core.database.cells import artifacts_of
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.label_indexes import LabelIndexStore
from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.database.rows.event_terms import EventTerms
from jobledger_service.core.database.rows.job_rows import JOB_COLUMNS, job_of
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import (
    artifact_versions,
    chunk_counts,
    chunks,
    counts,
    counts_of_all,
    event_terms,
    job_words,
    jobs,
    parked,
    scheduled_jobs,
)
from jobledger_service.core.model.bounds.limits import MAX_SUM
from jobledger_service.core.model.chunk import stored_bytes
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS

from .derived_tables import CorrectRows, DerivedTable
from .term_recount import TermRecount

log = structlog.get_logger(__name__)

JOBS_PER_PAGE: Final = 500
"""Jobs that are compared in one transaction, which locks them."""
VERSIONS_PER_READ: Final = 200

_ARTIFACTS: Final = ("artifacts_revision", "content")
_JOBS: Final = (
    select(jobs.c.job_key, *(null() if column.name in _ARTIFACTS else column for column in JOB_COLUMNS))
    .where(jobs.c.job_key > bindparam("after"))
    .order_by(jobs.c.job_key)
    .limit(JOBS_PER_PAGE)
    .with_for_update()
)
_WORDS: Final = select(job_words.c.job_key, job_words.c.words).where(job_words.c.job_key > bindparam("after"))

_finalizer_waits: Final = and_(
    jobs.c.finalizer_work.is_not(None),
    jobs.c.chunks_pending > 0,
    jobs.c.chunks_cancelled == 0,
    jobs.c.chunks_pending + jobs.c.chunks_processing + jobs.c.chunks_failed > 1,
)
"""What `Job.finalizer_waits` says."""
_HELD: Final = {
    HoldReason.LIMIT: case((parked, jobs.c.chunks_pending), else_=0),
    HoldReason.SCHEDULE: case((scheduled_jobs, jobs.c.chunks_pending), else_=0),
    HoldReason.BACKOFF: jobs.c.chunks_delayed,
    HoldReason.FINALIZER: case((_finalizer_waits, 1), else_=0),
}
_CHUNKS: Final = (jobs.c.chunks_pending, jobs.c.chunks_processing, *(_HELD[reason] for reason in HoldReason))
"""What each of `chunk_counts` sums."""
_HALF: Final = 2**32


def _halves(stored: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the parts of a number that are summed by themselves, as a sum of the whole may exceed 64 bits."""
    half = literal_column(str(_HALF), BigInteger)
    return stored.op("/", return_type=BigInteger())(half), stored.op("%", return_type=BigInteger())(half)


_SUMMED: Final = (*_CHUNKS, *_halves(jobs.c.artifact_bytes))
_RECORDED: Final = (*chunk_counts, *_halves(counts.c.artifact_bytes))
_SUMS: Final = (*(column.name for column in chunk_counts), "high", "low")
_PLACE: Final = (artifact_versions.c.job_key, artifact_versions.c.chunk_index)
_VERSIONS: Final = (
    select(*_PLACE, artifact_versions.c.content)
    .join(jobs, and_(jobs.c.job_key == artifact_versions.c.job_key, jobs.c.uid == artifact_versions.c.uid))
    .outerjoin(chunks, and_(chunks.c.job_key == _PLACE[0], chunks.c.chunk_index == _PLACE[1]))
    .where(
        _PLACE[0] >= bindparam("key"),
        _PLACE[0] <= bindparam("last"),
        tuple_(*_PLACE) > tuple_(bindparam("key"), bindparam("index")),
        artifact_versions.c.revision
        == case((_PLACE[1] == JOB_ITSELF, jobs.c.artifacts_revision), else_=chunks.c.artifacts_revision),
    )
    .order_by(*_PLACE)
    .limit(VERSIONS_PER_READ)
)
"""The present artifacts of jobs and of chunks after a place; that of a page is before any version of its jobs."""


class Recounted(MsgStruct):
    """The number of wrong rows by table, and of unreadable jobs, whose words did not change."""

    rows: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    label_indexes: int = 0
    """The number of rebuilt label indexes; a recount rebuilds all."""


class Recount:
    """One run over a database. `progress` is called with what was done so far, after each step.

    `terms` returns what the terms of an event are made from, None when its message cannot be read. `derived_tables` are
    those of features.
    """

    def __init__(
        self,
        database: Database,
        progress: Callable[[str], None],
        terms: Callable[[int, bytes], EventTerms | None],
        derived_tables: Sequence[DerivedTable],
    ) -> None:
        self._database = database
        self._progress = progress
        self._terms = TermRecount(database.dialect, terms)
        self._derived_tables = derived_tables
        self._row_sets = RowSets(database.dialect)
        self._done = Recounted()

    def run(self) -> Recounted:
        """Correct all derived rows, one transaction a step; several runs at once take turns."""
        after: str | None = ""
        while after := self._step(self._compare_jobs, after):
            self._progress(f"jobs: through {after}")
        self._step(self._rebuild_search, None)
        place: tuple[str, str] | None = ("", "")
        while place := self._step(self._recount_kind, place):
            self._progress(f"counts: {place[0]} {place[1]}")
        owner: str | None = ""
        while owner := self._step(self._recount_all_kinds, owner):
            self._progress(f"counts: {owner}")
        self._step(self._recount_all_owners, None)
        for table in self._derived_tables:
            if table.correct is not None:
                self._correct(table, table.correct)
        with self._database.read() as connection:
            parts = self._terms.parts(connection)
        for done, part in enumerate(parts, 1):
            self._done.rows[event_terms.name] += self._step(self._terms.correct, part)
            self._progress(f"event_terms: {done} of {len(parts)} parts")
        labels = LabelIndexStore(self._database)
        self._done.label_indexes = labels.renew()
        labels.build(lambda done, total: self._progress(f"job_labels: {done:,} of {total:,} jobs"))
        return self._done

    def lines(self) -> Iterator[str]:
        """Yield the outcome for each derived table, and the reason for those that cannot be derived."""
        for name, count in self._done.rows.items():
            yield f"{name}: {count:,} rows corrected"
        yield f"job_labels: {self._done.label_indexes:,} indexes built anew"
        for table in self._derived_tables:
            if table.correct is None:
                yield f"{table.name}: not recounted; {table.reason}"

    def _step(self, work: Callable[[Connection, Any], Any], after: object) -> Any:  # noqa: ANN401  the next place
        with self._database.write() as connection:
            self._database.dialect.lock(connection, "recount")
            return work(connection, after)

    # Counts

    def _recount_kind(self, connection: Connection, after: tuple[str, str]) -> tuple[str, str] | None:
        """Correct the counts of the next kind of an owner, and return it."""
        next_kind = connection.execute(_next_kind(after)).first()
        if next_kind is None:
            return None
        owner, kind = next_kind
        self._add_differences(connection, owner, _count_differences(owner, kind))
        return owner, kind

    def _recount_all_kinds(self, connection: Connection, after: str) -> str | None:
        """Correct the counts of all kinds of the next owner by those of each, and return the owner."""
        next_owner = select(func.min(counts.c.owner)).where(counts.c.owner > after)
        owner: str | None = connection.execute(next_owner).scalar()
        if owner is not None:
            self._add_differences(connection, owner, _differences_of_all(owner))
        return owner

    def _recount_all_owners(self, connection: Connection, _after: None) -> None:
        """Correct the counts over all owners by those of each."""
        self._add_differences(connection, ALL_OWNERS, _differences_over_owners())

    def _add_differences(self, connection: Connection, owner: str, differences: Select[Any]) -> None:
        rows = [
            {
                "owner": owner,
                "kind": kind,
                "state": state,
                "jobs": int(more),
                **{column.name: int(number) for column, number in zip(chunk_counts, numbers, strict=True)},
                "artifact_bytes": _within_bounds(int(high) * _HALF + int(low)),
            }
            for kind, state, more, *numbers, high, low in connection.execute(differences)
            if more or any(numbers) or high or low
        ]
        self._row_sets.add(connection, counts, sorted(rows, key=lambda row: (row["kind"], row["state"])))
        self._done.rows[counts.name] += len(rows)

    # Tables of features

    def _correct(self, table: DerivedTable, correct: CorrectRows) -> None:
        """Correct the rows of a table."""
        key: str | None = ""
        self._done.rows[table.name] += 0
        while key is not None:
            count, key = self._step(correct, key)
            self._done.rows[table.name] += count
            if key is not None:
                self._progress(f"{table.name}: {key}")

    # Jobs

    def _compare_jobs(self, connection: Connection, after: str) -> str | None:
        """Correct the words and the bytes of the next jobs, and return the last of them; None without more."""
        page = connection.execute(_JOBS, {"after": after}).all()
        last: str | None = page[-1].job_key if page else None
        self._compare_words(connection, after, page, last)
        if last is not None:
            self._compare_bytes(connection, after, page, last)
        return last

    def _compare_bytes(self, connection: Connection, after: str, page: Sequence[Any], last: str) -> None:
        """Correct the bytes of artifacts of jobs, of which every artifact can be read."""
        stored: dict[str, int] = {}
        unreadable: set[str] = set()
        place = (after, JOB_ITSELF)
        while versions := connection.execute(_VERSIONS, {"key": place[0], "index": place[1], "last": last}).all():
            for job_key, _, content in versions:
                try:
                    stored[job_key] = stored.get(job_key, 0) + stored_bytes(artifacts_of(content))
                except (ValueError, TypeError, AttributeError):
                    log.exception("artifacts cannot be read: the bytes of their job stay as they are", job_key=job_key)
                    unreadable.add(job_key)
            place = (versions[-1].job_key, versions[-1].chunk_index)
        wrong = [
            {"job_key": row.job_key, "artifact_bytes": right}
            for row in page
            if (right := min(stored.get(row.job_key, 0), MAX_SUM)) != row.artifact_bytes
            and row.job_key not in unreadable
        ]
        self._row_sets.update(connection, jobs, wrong)
        self._done.rows[jobs.name] += len(wrong)
        self._done.unreadable += len(unreadable)

    def _compare_words(self, connection: Connection, after: str, page: Sequence[Any], last: str | None) -> None:
        """Correct the words of a page of jobs; without one, forget those of all later jobs."""
        recorded_words = _WORDS if last is None else _WORDS.where(job_words.c.job_key <= last)
        recorded: dict[str, str] = {
            row.job_key: row.words for row in connection.execute(recorded_words, {"after": after})
        }
        new: list[dict[str, str]] = []
        changed: list[dict[str, str]] = []
        for row in page:
            words = self._words_of(row)
            if words is not None and recorded.get(row.job_key) != words:
                (changed if row.job_key in recorded else new).append({"job_key": row.job_key, "words": words})
        self._row_sets.insert(connection, job_words, new)
        self._row_sets.update(connection, job_words, changed)
        gone = self._forget_words(connection, recorded.keys() - {row.job_key for row in page})
        self._done.rows[job_words.name] += len(new) + len(changed) + gone

    def _words_of(self, row: Any) -> str | None:  # noqa: ANN401  a row of _JOBS
        try:
            return FilterFields.of(job_of(row[1:])).full_text
        except Exception:
            log.exception("a job cannot be read: its words stay as they are", job_key=row.job_key)
            self._done.unreadable += 1
            return None

    def _forget_words(self, connection: Connection, keys: set[str]) -> int:
        """Delete the words of missing jobs; others may have been created since the page was read."""
        if not keys:
            return 0
        dialect = self._database.dialect
        has_job = exists().where(jobs.c.job_key == job_words.c.job_key)
        gone = delete(job_words).where(job_words.c.job_key.in_(dialect.keys()), ~has_job)
        return connection.execute(gone, {"keys": dialect.key_values(keys)}).rowcount

    def _rebuild_search(self, connection: Connection, _after: None) -> None:
        """Rebuild SQLite's index of the words, which is a table of its own; PostgreSQL's index cannot be wrong."""
        if self._database.single_writer:
            connection.execute(text("INSERT INTO job_search (job_search) VALUES ('rebuild')"))


def _next_kind(after: tuple[str, str]) -> Select[Any]:
    """Return the statement of the next owner and kind with jobs or counts."""

    def first(table: FromClause) -> FromClause:
        place = (table.c.owner, table.c.kind)
        return (
            select(*place)
            .where(tuple_(*place) > tuple_(*after), table.c.kind != ALL_KINDS, table.c.owner != ALL_OWNERS)
            .order_by(*place)
            .limit(1)
            .subquery()
        )

    either = union_all(select(first(jobs)), select(first(counts))).subquery()
    return select(either.c.owner, either.c.kind).order_by(either.c.owner, either.c.kind).limit(1)


def _count_differences(owner: str, kind: str) -> Select[Any]:
    """Return the statement of how far each state's jobs exceed their count: jobs, chunks waiting or held."""
    counted = select(
        jobs.c.state.label("state"),
        func.count().label("jobs"),
        *(func.sum(numbers).label(name) for name, numbers in zip(_SUMS, _SUMMED, strict=True)),
    ).where(jobs.c.owner == owner, jobs.c.kind == kind)
    recorded = select(counts.c.state, -counts.c.jobs, *(-column for column in _RECORDED))
    both = union_all(
        counted.group_by(jobs.c.state), recorded.where(counts.c.owner == owner, counts.c.kind == kind)
    ).subquery()
    sums = [func.sum(both.c[name]) for name in ("jobs", *_SUMS)]
    return select(literal(kind), both.c.state, *sums).group_by(both.c.state)


def _differences_of_all(owner: str) -> Select[Any]:
    """Return the statement of how far the counts of an owner's kinds exceed those of all kinds, by state."""
    sums = _excess(counts_of_all)
    return select(literal(ALL_KINDS), counts.c.state, *sums).where(counts.c.owner == owner).group_by(counts.c.state)


def _differences_over_owners() -> Select[Any]:
    """Return the statement of how far the counts of owners exceed those of all owners, by kind and state."""
    sums = _excess(counts.c.owner == ALL_OWNERS)
    differs = or_(*(excess != 0 for excess in sums))
    return select(counts.c.kind, counts.c.state, *sums).group_by(counts.c.kind, counts.c.state).having(differs)


def _excess(is_total: ColumnElement[bool]) -> list[ColumnElement[int]]:
    """Return by how much the sums over other rows exceed those over totals."""
    return [func.sum(case((is_total, -column), else_=column)) for column in (counts.c.jobs, *_RECORDED)]


def _within_bounds(total: int) -> int:
    return max(-MAX_SUM, min(total, MAX_SUM))
