"""The list of jobs: pages that cost the same however many jobs there are, and wherever in the list they begin.

A list is walked on the index of its order. Conditions that the index does not serve are tested on each row, and a page
reads at most 20,000 rows. When a first short scan does not fill the page and few jobs meet one of the conditions, these
few are sorted instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, func, literal_column, or_, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.label_indexes import ready_indexes
from jobledger_service.core.database.rows.attempts import jobs_of_task
from jobledger_service.core.database.rows.reads import Listing, Order, PageKey
from jobledger_service.core.database.tables import counts, counts_of_all, job_labels
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.filters.label_indexes import LabelIndexes
from jobledger_service.core.model.filters.search import owner_mark
from jobledger_service.core.model.service_kinds import SERVICE_KINDS

from .routes import (
    Route,
    Steps,
    all_tests,
    bounded,
    indexed_conditions,
    kind_routes,
    label_routes,
    parameters,
    place_parameters,
    route,
    routes,
    states_of,
    word_parts,
    word_tests,
)
from .walks import By, sorted_few

_SERVICE_KINDS: Final[list[ColumnElement[str]]] = [literal_column(f"'{kind}'") for kind in SERVICE_KINDS]
_OF_SERVICE: Final = select(func.coalesce(func.sum(counts.c.jobs), 0)).where(
    counts.c.owner == bindparam("owner"), counts.c.kind.in_(_SERVICE_KINDS)
)


class Budget(MsgStruct, frozen=True):
    """What one page may cost: rows of its first scan, beside ten for each job; rows after it; jobs to sort.

    `likely` are rows after the first scan that are expected to fill the page; `count` those that are only counted.
    """

    first: int = 500
    then: int = 20_000
    few: int = 2_000
    likely: int = 4_000
    count: int = 5_000


BUDGET: Final = Budget()


class FoundKeys(MsgStruct, frozen=True):
    """A page of keys, in order; `next` is where the following page begins, None after the last.

    `count` is how many jobs match, as far as that was asked for; `more` is true when there may be more.
    """

    keys: Sequence[PageKey]
    next: PageKey | None
    count: int = 0
    more: bool = False


def list_keys(connection: Connection, dialect: Dialect, listing: Listing, budget: Budget = BUDGET) -> FoundKeys:
    """Return a page of keys; with `count_to`, count what matches: exactly, or up to there."""
    exact, service_jobs = _counted(connection, dialect, listing.filter) if listing.count_to else (None, None)
    if service_jobs is None and listing.filter.callers_only:
        service_jobs = _service_jobs(connection, listing.filter.owner)
    if service_jobs == 0:  # no row has to be tested for them
        listing = replace(listing, filter=replace(listing.filter, include_service_jobs=True))
    indexes = ready_indexes(connection, listing.filter)
    walker = _Walker(Steps(connection, dialect, listing.ascending), listing, indexes)
    max_keys = listing.limit + 1
    first = max_keys * 10 + budget.first
    seen = [] if listing.filter.job_ids else walker.scan(first, max_keys)
    missing, then = max_keys - len(seen), budget.then
    if missing > 0 and not walker.done and len(seen) * budget.likely >= missing * first:
        seen += walker.scan(budget.likely, missing)
        then = max(1, then - budget.likely)
    if len(seen) < max_keys and not walker.done:
        few = _few(connection, dialect, listing, indexes, budget.few)
        if few is None:
            seen += walker.scan(then, max_keys - len(seen))
        else:
            walker.finish()
            seen = few
    page = _page(seen, listing, walker)
    if not listing.count_to:
        return page
    if exact is not None:
        return replace(page, count=exact)
    if len(seen) <= listing.count_to and not walker.done:
        # SQLite stops at the limit; PostgreSQL would read all entries of each word
        if walker.has_tests and not dialect.has_row_locks and _is_of_words(listing.filter):
            parts = word_parts(listing.filter)
            hits = len(_search(connection, dialect, listing.filter, parts, listing.count_to))
            return replace(page, count=min(hits, listing.count_to), more=hits > listing.count_to)
        seen += walker.scan(budget.count, listing.count_to + 1 - len(seen))
    more = len(seen) > listing.count_to or not walker.done
    return replace(page, count=min(len(seen), listing.count_to), more=more)


def _page(seen: Sequence[PageKey], listing: Listing, walker: "_Walker") -> FoundKeys:
    keys = seen[: listing.limit]
    if len(seen) > len(keys):
        return FoundKeys(keys, keys[-1])
    return FoundKeys(keys, None if walker.done else walker.after)


class _Walker:
    """Walks the routes of a list one after the other; `after` is the last place that it read."""

    def __init__(self, steps: Steps, listing: Listing, indexes: LabelIndexes) -> None:
        self.after = listing.after
        self._steps = steps
        self._routes = routes(listing.filter, listing.order, indexes, ascending=listing.ascending)
        if not listing.ascending:
            self._routes = [route for route in self._routes if not self._is_past(route)]

    def _is_past(self, route: Route) -> bool:
        """Whether the page begins after all that is on a route whose rows are all in one place."""
        return route.place is not None and self.after is not None and self.after.value < route.place

    @property
    def done(self) -> bool:
        """Whether all routes were walked."""
        return not self._routes

    @property
    def has_tests(self) -> bool:
        """Whether rows of the remaining routes are tested."""
        return any(route.tests for route in self._routes)

    def finish(self) -> None:
        """Skip the remaining routes."""
        self._routes = []

    def scan(self, max_rows: int, limit: int) -> list[PageKey]:
        """Return the next keys that pass the tests, having read at most `max_rows` of a route."""
        keys: list[PageKey] = []
        while self._routes:
            route, after = self._routes[0], self._after(self._routes[0])
            last = self._last(route, after, max_rows) if route.tests else None
            keys += self._steps.fetch(route, limit - len(keys), after=after, until=last)
            if len(keys) >= limit:
                self.after = keys[-1]
                break
            if last is not None:
                self.after = last
                break
            self._routes.pop(0)
        return keys

    def _last(self, route: Route, after: PageKey | None, max_rows: int) -> PageKey | None:
        """Return the place of the last row to read, None when the route ends before."""
        return next(iter(self._steps.fetch(replace(route, tests={}), 1, skip=max_rows - 1, after=after)), None)

    def _after(self, route: Route) -> PageKey | None:
        """Return the place on a route after which to continue: None for a route that begins after all places so far."""
        if route.place is not None and self.after is not None and self.after.value != route.place:
            return None
        return self.after


def _is_of_words(job_filter: JobFilter) -> bool:
    """Whether full text knows all that a filter asks for."""
    plain = JobFilter(
        job_filter.owner,
        labels=job_filter.labels,
        search=job_filter.search,
        include_service_jobs=True,
        unique_key=job_filter.unique_key,
        error_code=job_filter.error_code,
        label_conditions=job_filter.label_conditions,
    )
    return job_filter == plain and all(condition.values for condition in job_filter.label_conditions)


def _few(
    connection: Connection, dialect: Dialect, listing: Listing, indexes: LabelIndexes, max_jobs: int
) -> list[PageKey] | None:
    """Return what is left of the list, sorted, if one of its conditions is met by few jobs."""
    job_filter = listing.filter
    for keys, is_searched in _candidates(connection, dialect, job_filter, listing.order, indexes, max_jobs):
        if len(keys) <= max_jobs:
            tests = all_tests(job_filter)
            if is_searched:
                tests = {name: value for name, value in tests.items() if name not in word_tests(job_filter)}
            return _sorted(connection, dialect, listing, {**tests, "keys": keys})
    return None


def _sorted(connection: Connection, dialect: Dialect, listing: Listing, tests: dict[str, Any]) -> list[PageKey]:
    names = tuple(sorted(tests.keys() - {"keys"}))
    statement = sorted_few(listing.order, names, dialect, ascending=listing.ascending, after=listing.after is not None)
    values = parameters(tests, dialect)
    values["limit"] = max(listing.limit, listing.count_to) + 1
    if listing.after is not None:
        values |= place_parameters("after", listing.after)
    return [PageKey(*row) for row in connection.execute(statement, values)]


def _candidates(
    connection: Connection,
    dialect: Dialect,
    job_filter: JobFilter,
    order: Order,
    indexes: LabelIndexes,
    max_jobs: int,
) -> Iterator[tuple[list[str], bool]]:
    """Yield, for each condition that an index knows of, the keys of the jobs that meet it; above `max_jobs`, one more.

    The second value is whether full text found them.
    """
    if job_filter.job_ids:
        yield job_filter.job_keys, False
    if parts := word_parts(job_filter):
        # A number or an id is rather in few jobs. Full text reads through all that it holds of each common beginning.
        numbers = [word for word in job_filter.search if any(map(str.isdigit, word))]
        if numbers and len(job_filter.search) > 1:
            longest = [f" {max(numbers, key=len)}"]
            yield _search(connection, dialect, job_filter, [longest, *parts[len(job_filter.search) :]], max_jobs), False
        yield _search(connection, dialect, job_filter, parts, max_jobs), True
    if job_filter.task_id:
        yield jobs_of_task(connection, job_filter.owner, job_filter.task_id, max_jobs + 1), False
    steps = Steps(connection, dialect)
    main = route(job_filter, order, states_of(job_filter), indexes)
    if job_filter.kinds and main.by is not By.KIND:
        yield _keys_of(steps, kind_routes(job_filter), max_jobs), False
    is_walked = main.by.table is job_labels and "state_among" not in main.tests
    for condition, _ in indexed_conditions(job_filter, indexes)[1 if is_walked else 0 :]:
        yield _keys_of(steps, label_routes(job_filter, condition, indexes), max_jobs), False
    for bounded_order in bounded(job_filter):
        if bounded_order is not order:
            bound = replace(route(job_filter, bounded_order, states_of(job_filter), indexes), tests={})
            yield _keys_of(steps, [bound], max_jobs), False


def _search(
    connection: Connection, dialect: Dialect, job_filter: JobFilter, parts: list[list[str]], max_jobs: int
) -> list[str]:
    query = dialect.query_value([[f"{owner_mark(job_filter.owner)} "], *parts])
    return list(connection.execute(_searched(dialect), {"query": query, "limit": max_jobs + 1}).scalars())


def _keys_of(steps: Steps, parts: Iterable[Route], max_jobs: int) -> list[str]:
    """Return the keys of the jobs on some routes; above `max_jobs`, one more."""
    keys: list[str] = []
    for part in parts:
        keys += [key.job_key for key in steps.fetch(part, max_jobs + 1 - len(keys))]
        if len(keys) > max_jobs:
            break
    return keys


def _searched(dialect: Dialect) -> Select[Any]:
    return dialect.searched().limit(bindparam("limit"))


def _service_jobs(connection: Connection, owner: str) -> int:
    """Return how many jobs of the service's own an owner has: a seek for each of their kinds."""
    return int(connection.execute(_OF_SERVICE, {"owner": owner}).scalar_one())


def _counted(connection: Connection, dialect: Dialect, job_filter: JobFilter) -> tuple[int | None, int | None]:
    """Return how many jobs match, and how many of the service's own are left out: exactly, None if unknown."""
    plain = JobFilter(
        job_filter.owner, job_filter.states, job_filter.kinds, include_service_jobs=job_filter.include_service_jobs
    )
    if job_filter != plain:
        return None, None
    among = {name: keys for name in ("state", "kind") if (keys := getattr(job_filter, f"{name}s"))}
    values = {"owner": job_filter.owner, **{name: dialect.key_values(sorted(keys)) for name, keys in among.items()}}
    [(of_callers, of_service)] = _total(dialect, tuple(among)).rows(connection, values)
    return (int(of_callers), int(of_service)) if job_filter.callers_only else (int(of_callers + of_service), 0)


@lru_cache
def _total(dialect: Dialect, among: Sequence[str]) -> DriverStatement:
    """Return the count of an owner's jobs, of callers and of the service, `among` some states or kinds."""
    of_service = counts.c.kind.in_(_SERVICE_KINDS)
    # the service's own are among all: subtracted from these
    callers = case((of_service, literal_column("0") if "kind" in among else -counts.c.jobs), else_=counts.c.jobs)
    conditions = [counts.c.owner == bindparam("owner"), *(dialect.is_one_of(counts.c[name], name) for name in among)]
    if "kind" not in among:
        conditions.append(or_(counts_of_all, of_service))
    total = select(
        func.coalesce(func.sum(callers), 0),
        func.coalesce(func.sum(case((of_service, counts.c.jobs), else_=0)), 0),
    ).where(*conditions)
    return DriverStatement(total)
