"""The walks that make up a list, and the conditions that they leave to be tested."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

from msgspec import Struct as MsgStruct
from msgspec.structs import astuple, replace
from sqlalchemy import Connection

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.reads import Order, PageKey
from jobledger_service.core.database.tables import NEVER
from jobledger_service.core.model.bounds.limits import MAX_PRIORITY, MIN_PRIORITY
from jobledger_service.core.model.filters.filter import ANY_TIME, JobFilter, LabelCondition
from jobledger_service.core.model.filters.label_indexes import NO_LABEL_INDEXES, LabelIndexes
from jobledger_service.core.model.filters.search import (
    error_code_mark,
    label_digest,
    label_marks,
    label_name_mark,
    unique_key_mark,
)
from jobledger_service.core.model.service_kinds import RESERVED
from jobledger_service.core.model.states import ENDED, JobState

from .walks import By, Shape, walk

MAX_ARMS: Final = 36
"""Walks that are merged into one."""

_ALL: Final = frozenset(JobState)

Arm = Mapping[str, str | int]

_TIMES: Final = (*(order.value for order in Order if order is not Order.PRIORITY), "start_time", "schedule_time")


class ValueRange(NamedTuple):
    """From `low`, inclusive, to `high`, exclusive; None is no bound."""

    low: int | None
    high: int | None


_ANY: Final = ValueRange(None, None)


class Route(MsgStruct, frozen=True):
    """One walk: merged arms, within a span of what they are ordered by; rows that fail a test are passed over.

    `place`, when given, is where all its rows are in the list's order.
    """

    owner: str
    order: Order
    by: By
    arms: Sequence[Arm]
    span: ValueRange
    tests: Mapping[str, object]
    place: int | None = None


def routes(
    job_filter: JobFilter, order: Order, indexes: LabelIndexes = NO_LABEL_INDEXES, *, ascending: bool
) -> list[Route]:
    """Return the walks that make up a list, one after the other; by end, jobs that have not ended are last."""
    states = states_of(job_filter)
    if order is not Order.END_TIME:
        return [route(job_filter, order, states, indexes)] if states else []
    parts = [route(job_filter, order, states & ENDED, indexes)] if states & ENDED else []
    if unended := states - ENDED:
        parts.append(replace(route(job_filter, Order.CREATE_TIME, unended, indexes), place=NEVER))
    return parts if ascending else parts[::-1]


def states_of(job_filter: JobFilter) -> frozenset[JobState]:
    """Return the states that jobs can have which a filter means."""
    states = job_filter.states or _ALL
    return states if job_filter.end_time == ANY_TIME else states & ENDED


def route(job_filter: JobFilter, order: Order, states: frozenset[JobState], indexes: LabelIndexes) -> Route:
    """Return the walk of the jobs in these states: by a value of a label, if one is indexed."""
    for condition, rest in indexed_conditions(job_filter, indexes)[:1]:
        by, arms = _label_arms(condition, indexes, order, states)
        if order is not Order.UPDATE_TIME and len(arms) <= MAX_ARMS:
            return _route(rest, order, states, by, arms)
    return _route(job_filter, order, states, *_arms(job_filter, order, states))


def _route(job_filter: JobFilter, order: Order, states: frozenset[JobState], by: By, arms: Sequence[Arm]) -> Route:
    """Return a walk of jobs by these arms, which leave this filter to be tested."""
    tests = tests_of(job_filter, excluded=order)
    if by is By.LABEL and states != _ALL:
        tests["state_among"] = sorted(state.value for state in states)
    if job_filter.kinds and by is not By.KIND:
        tests["kind_among"] = sorted(job_filter.kinds)
    return Route(job_filter.owner, order, by, arms, spans_of(job_filter)[order], tests)


def kind_routes(job_filter: JobFilter) -> Iterator[Route]:
    """Yield walks of all jobs of the filter's kinds, a few kinds at a time."""
    states = sorted(states_of(job_filter))
    arms = [{"kind": kind, "state": state.value} for kind, state in product(sorted(job_filter.kinds), states)]
    return _routes_in_parts(job_filter, By.KIND, arms)


def label_routes(job_filter: JobFilter, condition: LabelCondition, indexes: LabelIndexes) -> Iterator[Route]:
    """Yield walks of all jobs that meet a condition on an indexed label, some values at a time."""
    return _routes_in_parts(job_filter, *_label_arms(condition, indexes, Order.CREATE_TIME, states_of(job_filter)))


def _routes_in_parts(job_filter: JobFilter, by: By, arms: Sequence[Arm]) -> Iterator[Route]:
    span = spans_of(job_filter)[Order.CREATE_TIME]
    for begin in range(0, len(arms), MAX_ARMS):
        yield Route(job_filter.owner, Order.CREATE_TIME, by, arms[begin : begin + MAX_ARMS], span, {})


def indexed_conditions(job_filter: JobFilter, indexes: LabelIndexes) -> list[tuple[LabelCondition, JobFilter]]:
    """Return the conditions that indexes serve, those of few values first, each with the filter without it."""
    equal = [
        (
            LabelCondition(name, (value,)),
            replace(job_filter, labels={n: v for n, v in job_filter.labels.items() if n != name}),
        )
        for name, value in job_filter.labels.items()
        if name in indexes
    ]
    among = [
        (
            condition,
            replace(job_filter, label_conditions=tuple(o for o in job_filter.label_conditions if o is not condition)),
        )
        for condition in job_filter.label_conditions
        if condition.values and condition.name in indexes
    ]
    return sorted(equal + among, key=lambda pair: len(pair[0].values))


def _label_arms(
    condition: LabelCondition, indexes: LabelIndexes, order: Order, states: frozenset[JobState]
) -> tuple[By, list[Arm]]:
    number = indexes[condition.name]
    values: list[Arm] = [
        {"index_number": number, "digest": label_digest(condition.name, value)} for value in sorted({*condition.values})
    ]
    if order is Order.PRIORITY or (order is Order.CREATE_TIME and states == _ALL):
        return By.LABEL, values
    return By.LABEL_STATE, [{**value, "state": state.value} for value, state in product(values, sorted(states))]


def _arms(job_filter: JobFilter, order: Order, states: frozenset[JobState]) -> tuple[By, list[Arm]]:
    listed = sorted(state.value for state in states)
    if order is Order.CREATE_TIME:
        if job_filter.kinds and len(job_filter.kinds) * len(listed) <= MAX_ARMS:
            return By.KIND, [
                {"kind": kind, "state": state} for kind, state in product(sorted(job_filter.kinds), listed)
            ]
        if states == _ALL:
            return By.OWNER, [{}]
    return By.STATE, [{"state": state} for state in listed]


def spans_of(job_filter: JobFilter) -> dict[str, ValueRange]:
    """Return the span of each value that a filter can bound: of those that lists can be ordered by, and of others."""
    low = job_filter.min_priority if job_filter.min_priority > MIN_PRIORITY else None
    high = job_filter.max_priority + 1 if job_filter.max_priority < MAX_PRIORITY else None
    return {
        **{name: ValueRange(*astuple(getattr(job_filter, name))) for name in _TIMES},
        Order.PRIORITY: ValueRange(low, high),
    }


def bounded(job_filter: JobFilter) -> list[Order]:
    """Return the orders by whose value the filter leaves jobs out."""
    spans = spans_of(job_filter)
    return [order for order in Order if spans[order] != _ANY]


def tests_of(job_filter: JobFilter, *, excluded: Order | None) -> dict[str, object]:
    """Return the conditions on values, except one, and on words, as parameters."""
    tests: dict[str, object] = word_tests(job_filter)
    if job_filter.job_ids:
        tests["job_key_among"] = job_filter.job_keys
    if job_filter.task_id:
        tests["task_id"] = job_filter.task_id
    if job_filter.callers_only:
        tests["not_kind"] = f"{RESERVED}%"
    for name, (low, high) in spans_of(job_filter).items():
        if name != excluded and low is not None:
            tests[f"{name}_low"] = low
        if name != excluded and high is not None:
            tests[f"{name}_high"] = high
    for number, condition in enumerate(job_filter.label_conditions):
        if not condition.values:
            tests[f"part_of_label_{number}"] = f" {label_name_mark(condition.name)}"
    return tests


def all_tests(job_filter: JobFilter) -> dict[str, object]:
    """Return every condition of a filter, as parameters."""
    tests = {**tests_of(job_filter, excluded=None), "state_among": [state.value for state in states_of(job_filter)]}
    return {**tests, "kind_among": sorted(job_filter.kinds)} if job_filter.kinds else tests


def word_tests(job_filter: JobFilter) -> dict[str, object]:
    """Return the conditions that full text serves, as parameters: a text, or several of which one is to be there."""
    return {
        f"part_{number}" if len(parts) == 1 else f"any_part_{number}": parts[0] if len(parts) == 1 else parts
        for number, parts in enumerate(word_parts(job_filter))
    }


def word_parts(job_filter: JobFilter) -> list[list[str]]:
    """Return texts with a space before them, and with one behind those that are whole words.

    Of each list a job's words, with a space before and after each, must hold one.
    """
    marks = [[mark] for mark in label_marks(job_filter.labels)]
    marks += [
        [mark for value in condition.values for mark in label_marks({condition.name: value})]
        for condition in job_filter.label_conditions
        if condition.values
    ]
    if job_filter.unique_key:
        marks.append([unique_key_mark(job_filter.unique_key)])
    if job_filter.error_code:
        marks.append([error_code_mark(job_filter.error_code)])
    return [
        *([f" {prefix}"] for prefix in job_filter.search),
        *([f" {mark} " for mark in alternatives] for alternatives in marks),
    ]


class Steps(MsgStruct, frozen=True):
    """Takes steps along routes, in one direction."""

    connection: Connection
    dialect: Dialect
    ascending: bool = False

    def fetch(
        self, route: Route, limit: int, *, skip: int = 0, after: PageKey | None = None, until: PageKey | None = None
    ) -> list[PageKey]:
        """Return the next keys of a route after a place, up to another one, without the first `skip`."""
        values: dict[str, object] = {
            "owner": route.owner,
            "limit": limit,
            "skip": skip,
            **parameters(route.tests, self.dialect),
        }
        for number, arm in enumerate(route.arms):
            values |= {f"{name}_{number}": value for name, value in arm.items()}
        start, stop = ("low", "high") if self.ascending else ("high", "low")
        shape = Shape(
            route.order,
            self.ascending,
            route.by,
            len(route.arms),
            # Places lie within the span: what was walked before, and where the walk is to end.
            _bound(values, "after", after, start, getattr(route.span, start)),
            _bound(values, "until", until, stop, getattr(route.span, stop)),
            tuple(sorted(route.tests)),
        )
        rows = _statement(shape, self.dialect).rows(self.connection, values)
        return [PageKey(place if route.place is None else route.place, time, key) for place, time, key in rows]


@lru_cache(maxsize=512)
def _statement(shape: Shape, dialect: Dialect) -> DriverStatement:
    return DriverStatement(walk(shape, dialect))


def _bound(values: dict[str, object], name: str, place: PageKey | None, side: str, bound: int | None) -> str:
    """Add the parameters of one end of a walk, and return its name: a place, a bound of the span, or nothing."""
    if place is not None:
        values |= place_parameters(name, place)
        return name
    if bound is None:
        return ""
    values[side] = bound
    return side


def place_parameters(name: str, place: PageKey) -> dict[str, object]:
    """Return a place as parameters."""
    return {f"{name}_value": place.value, f"{name}_create_time": place.create_time, f"{name}_key": place.job_key}


def parameters(tests: Mapping[str, object], dialect: Dialect) -> dict[str, object]:
    """Return tests with sets in the form that the database takes."""
    return {name: dialect.key_values(value) if isinstance(value, list) else value for name, value in tests.items()}
