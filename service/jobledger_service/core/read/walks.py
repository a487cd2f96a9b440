"""The statements of lists: walks over the indexes of jobs, and the few jobs of a set of keys in order."""

from enum import Enum
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct as MsgStruct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.attempts import has_had_task
from jobledger_service.core.database.rows.reads import Order
from jobledger_service.core.database.tables import NEVER, ended, has_ended, job_labels, job_words, jobs

_LIMIT: Final = bindparam("limit", type_=Integer)
_SKIP: Final = bindparam("skip", type_=Integer)

_TESTS_OF_LABELS: Final = {
    "state_among",
    *(f"{name}_{side}" for name in ("create_time", "end_time", "priority") for side in ("low", "high")),
}
"""The conditions that are tested on the rows of labels themselves."""

_NOTHING: Final = literal_column("''", Text)
"""A suffix that keeps the indexes of a column out of the plan."""


class By(Enum):
    """What each arm of a walk is about: all jobs of the owner, or those with one value in each of some columns."""

    OWNER = ()
    STATE = ("state",)
    KIND = ("kind", "state")
    LABEL = ("index_number", "digest")
    LABEL_STATE = ("index_number", "digest", "state")

    @property
    def table(self) -> Table:
        """The table that is walked."""
        return job_labels if "digest" in self.value else jobs


class Shape(MsgStruct, frozen=True):
    """All that makes a statement of a walk another one; the rest are parameters.

    `arms` walks are merged. `start` and `stop` say how each begins and ends: at a place (`after`, `until`), at a bound
    of the range (`low`, `high`), or nowhere (empty). `tests` are the names of the conditions that each row is put to.
    """

    order: Order
    ascending: bool
    by: By
    arms: int
    start: str = ""
    stop: str = ""
    tests: tuple[str, ...] = ()


@lru_cache(maxsize=512)
def walk(shape: Shape, dialect: Dialect) -> Select[Any] | CompoundSelect[Any]:
    """Return the statement that finds keys in order: `limit` of them, after the first `skip`."""
    arms = [_arm(shape, dialect, number) for number in range(shape.arms)]
    ordered = _ordered(shape, _place(shape.by.table, shape.order))
    if len(arms) == 1:
        return arms[0].order_by(*ordered).limit(_LIMIT).offset(_SKIP)
    merged = union_all(*(dialect.merged_walk(arm, ordered) for arm in arms))
    names: list[ColumnElement[Any]] = [literal_column(name) for name in ("place", "create_time", "job_key")]
    return merged.order_by(*_ordered(shape, names)).limit(_LIMIT).offset(_SKIP)


def _ordered(shape: Shape, columns: list[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """Return the order of a walk: in that by creation, the place is the time of creation."""
    named = columns[1:] if shape.order is Order.CREATE_TIME else columns
    return named if shape.ascending else [column.desc() for column in named]


def _arm(shape: Shape, dialect: Dialect, number: int) -> Select[Any]:
    table = shape.by.table
    arm = _keys(_place(table, shape.order)).where(table.c.owner == bindparam("owner"))
    arm = arm.where(*(table.c[name] == bindparam(f"{name}_{number}") for name in shape.by.value))
    arm = arm.where(*(_bound(shape, bound) for bound in (shape.start, shape.stop) if bound))
    if shape.order is Order.END_TIME:
        arm = arm.where(ended if table is jobs else has_ended)
    if table is jobs:
        return arm.where(*(condition(name, dialect) for name in shape.tests))
    arm = arm.where(*(condition(name, dialect, table) for name in shape.tests if name in _TESTS_OF_LABELS))
    job_tests = [condition(name, dialect) for name in shape.tests if name not in _TESTS_OF_LABELS]
    if not job_tests:
        return arm
    # A join would let the planner change the order.
    passes = select(and_(*job_tests)).where(jobs.c.job_key == table.c.job_key)
    return arm.where(passes.correlate(table).scalar_subquery())


def _place(table: Table, order: Order) -> list[ColumnElement[Any]]:
    return [table.c[order.value], table.c.create_time, table.c.job_key]


def _keys(place: list[ColumnElement[Any]]) -> Select[Any]:
    return select(place[0].label("place"), *place[1:])


def _bound(shape: Shape, bound: str) -> ColumnElement[bool]:
    place = _place(shape.by.table, shape.order)
    match bound:
        case "low":
            return place[0] >= bindparam("low", type_=BigInteger)
        case "high":
            return place[0] < bindparam("high", type_=BigInteger)
        case "after":
            return _beyond(shape.order, place, ascending=shape.ascending)
    return ~_beyond(shape.order, place, "until", ascending=shape.ascending)


def _beyond(
    order: Order, place: list[ColumnElement[Any]], name: str = "after", *, ascending: bool
) -> ColumnElement[bool]:
    """Return the condition that a row comes after a place. Comparing rows lets an index be entered right there."""
    here: list[Any] = [*place]
    there: list[Any] = [
        bindparam(f"{name}_value", type_=BigInteger),
        bindparam(f"{name}_create_time", type_=BigInteger),
        bindparam(f"{name}_key", type_=Text),
    ]
    if order is Order.CREATE_TIME:
        del here[0], there[0]
    return tuple_(*here) > tuple_(*there) if ascending else tuple_(*here) < tuple_(*there)


def condition(name: str, dialect: Dialect, table: Table = jobs) -> ColumnElement[bool]:
    """Return a condition that no index is to serve: another index would bring another order."""
    if name.startswith(("part_", "any_part_")):
        return _words_hold(name, dialect)
    if name == "task_id":
        return has_had_task()
    if name == "not_kind":
        return jobs.c.kind.concat(_NOTHING).not_like(bindparam(name))
    column, _, side = name.rpartition("_")
    if side == "among":
        return dialect.is_one_of(table.c[column].concat(_NOTHING), name)
    value, parameter = table.c[column] + literal_column("0"), bindparam(name, type_=BigInteger)
    return value >= parameter if side == "low" else value < parameter


def _words_hold(name: str, dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that the job's words, with a space before and after each, hold a text, or one of several."""
    spaced = literal(" ").concat(job_words.c.words).concat(" ")
    if name.startswith("part_"):
        holds = dialect.contains(spaced, bindparam(name, type_=Text))
    else:
        texts = dialect.keys(name).subquery()
        holds = select(texts).where(dialect.contains(spaced, texts.c[0])).correlate(job_words).exists()
    held = select(holds).where(job_words.c.job_key == jobs.c.job_key)
    return held.correlate(jobs).scalar_subquery()


@lru_cache(maxsize=512)
def sorted_few(order: Order, tests: tuple[str, ...], dialect: Dialect, *, ascending: bool, after: bool) -> Select[Any]:
    """Return the statement that finds, in order, those of the jobs in `keys` that pass tests: `limit` of them."""
    place = _place(jobs, order)
    if order is Order.END_TIME:
        place[0] = func.coalesce(place[0], literal_column(str(NEVER), BigInteger))
    # Nothing is said of the owner, whose keys they are: SQLite would read all of the owner's jobs.
    statement = _keys(place).where(dialect.is_one_of(jobs.c.job_key, "keys"))
    statement = statement.where(*(condition(name, dialect) for name in tests))
    if after:
        statement = statement.where(_beyond(order, place, ascending=ascending))
    return statement.order_by(*(place if ascending else [column.desc() for column in place])).limit(
        bindparam("limit", type_=Integer)
    )
