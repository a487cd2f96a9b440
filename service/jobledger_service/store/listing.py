"""The list of jobs: keyset pages on the index that fits the order."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, func, literal, literal_column, or_, select

from jobledger_service.domain.filter import JobFilter, TimeRange
from jobledger_service.domain.job import Job
from jobledger_service.domain.limits import MAX_PRIORITY, MIN_PRIORITY
from jobledger_service.domain.service_kinds import RESERVED
from jobledger_service.ledger.ports import Listing, Order, PageKey

from .dialects import Dialect
from .rows import JOB_COLUMNS
from .tables import NEVER, jobs


@dataclass(frozen=True, slots=True)
class _Place:
    """What a list is ordered by, as a column and as a property of a job."""

    column: ColumnElement[int]

    def of(self, job: Job, order: Order) -> int:
        match order:
            case Order.CREATE_TIME:
                return job.spec.create_time
            case Order.UPDATE_TIME:
                return job.update_time
            case Order.END_TIME:
                return NEVER if job.end_time is None else job.end_time
            case Order.PRIORITY:
                return job.priority


_PLACES: dict[Order, _Place] = {
    Order.CREATE_TIME: _Place(jobs.c.create_time),
    Order.UPDATE_TIME: _Place(jobs.c.update_time),
    Order.END_TIME: _Place(func.coalesce(jobs.c.end_time, literal_column(str(NEVER), BigInteger))),
    Order.PRIORITY: _Place(jobs.c.priority),
}


def page_key(job: Job, order: Order) -> PageKey:
    """Return the job's place in a list."""
    return PageKey(_PLACES[order].of(job, order), job.spec.create_time, job.key)


def conditions(wanted: JobFilter, dialect: Dialect) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter."""
    found: list[ColumnElement[bool]] = [jobs.c.owner == wanted.owner]
    if wanted.states:
        found.append(jobs.c.state.in_(sorted(wanted.states)))
    if wanted.kinds:
        found.append(jobs.c.kind.in_(sorted(wanted.kinds)))
    if wanted.callers_only:
        found.append(~jobs.c.kind.startswith(RESERVED))
    if wanted.min_priority > MIN_PRIORITY:
        found.append(jobs.c.priority >= wanted.min_priority)
    if wanted.max_priority < MAX_PRIORITY:
        found.append(jobs.c.priority <= wanted.max_priority)
    for column, span in (
        (jobs.c.create_time, wanted.create_time),
        (jobs.c.update_time, wanted.update_time),
        (jobs.c.end_time, wanted.end_time),
    ):
        found.extend(_within(column, span))
    found.extend(jobs.c.labels[name].as_string() == value for name, value in wanted.labels.items())
    return found


def _within(column: ColumnElement[Any], span: TimeRange) -> list[ColumnElement[bool]]:
    found = []
    if span.start is not None:
        found.append(column >= span.start)
    if span.end is not None:
        found.append(column < span.end)
    return found


_PAGE = select(*JOB_COLUMNS)


def page(listing: Listing, dialect: Dialect) -> Select[Any]:
    """Return the statement of one page and one job more."""
    places = [_PLACES[listing.order].column, jobs.c.create_time, jobs.c.job_key]
    if listing.order is Order.CREATE_TIME:
        del places[0]
    found = _PAGE.where(*conditions(listing.filter, dialect))
    if listing.after:
        found = found.where(_beyond(places, listing.after, listing.order, ascending=listing.ascending))
    ordered = places if listing.ascending else [place.desc() for place in places]
    return found.order_by(*ordered).limit(listing.limit + 1)


def _beyond(places: list[ColumnElement[Any]], after: PageKey, order: Order, *, ascending: bool) -> ColumnElement[bool]:
    """Return the condition that a row comes after a place. By the first comparison the index is entered there."""
    values: list[int | str] = [after.value, after.create_time, after.job_key]
    if order is Order.CREATE_TIME:
        del values[0]
    first = places[0] >= values[0] if ascending else places[0] <= values[0]
    alternatives = []
    for depth, (place, value) in enumerate(zip(places, values, strict=True)):
        same = [p == v for p, v in zip(places[:depth], values[:depth], strict=True)]
        alternatives.append(and_(*same, place > value if ascending else place < value))
    return and_(first, or_(*alternatives))


def count(listing: Listing, dialect: Dialect) -> Select[int]:
    """Return the statement that counts what matches, up to a bound."""
    some = select(literal(1)).select_from(jobs).where(*conditions(listing.filter, dialect)).limit(listing.count_to)
    return select(func.count()).select_from(some.subquery())
