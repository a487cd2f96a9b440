"""The owners with waiting chunks, for workers that serve many owners; those without any are not read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct as MsgStruct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.paused_kinds import is_paused
from jobledger_service.core.database.tables import chunks, claimable, jobs, of_workers
from jobledger_service.core.model.bounds.limits import MAX_PRIORITY, MIN_PRIORITY
from jobledger_service.core.model.owners import Owners

from .waiting_chunks import is_set_aside

_PRIORITIES: Final = range(MIN_PRIORITY, MAX_PRIORITY + 1)
_LIMIT: Final = bindparam("limit", type_=Integer)


class ReadyOwner(NamedTuple):
    """An owner with chunks of a kind that wait with a priority."""

    priority: int
    owner: str
    kind: str


class ReadyOwnersQuery(MsgStruct, frozen=True):
    """A query for up to `limit` of some owners with chunks of these kinds, the most urgent first, each with all kinds.

    With all owners, the next priority is read only while there are fewer than `enough`. `last` is the
    owner who had the last turn, by priority.
    """

    owners: Owners
    kinds: tuple[str, ...]
    enough: int
    limit: int
    last: Mapping[int, str]


class ReadyOwners:
    """Reads which owners have work."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        conditions: dict[bool, ColumnElement[bool]] = {False: true(), True: ~is_set_aside(dialect)}
        jobs_of = {False: true(), True: _has_waiting(conditions[True])}
        self._of_one_priority = {excludes: _of_one_priority(dialect, where) for excludes, where in jobs_of.items()}
        self._of_names = {excludes: _of_names(dialect, where) for excludes, where in conditions.items()}

    def read(self, connection: Connection, query: ReadyOwnersQuery, excluded: Sequence[str]) -> list[ReadyOwner]:
        """Return owners in turn within a priority, by name, backwards from the one that had the last turn.

        The jobs and chunks in `excluded` do not count.
        """
        values = self._dialect.key_values
        parameters: dict[str, object] = {"kinds": values(query.kinds)} | ({"but": values(excluded)} if excluded else {})
        if query.owners.all:
            return self._of_all(connection, query, parameters)
        parameters["owners"] = values(sorted(query.owners.names))
        rows = connection.execute(self._of_names["but" in parameters], parameters)
        ready = [ReadyOwner(*row) for row in rows if row.priority is not None]
        ready.sort(
            key=lambda owner: (owner.priority, owner.owner < query.last.get(owner.priority, ""), owner.owner),
            reverse=True,
        )
        return _of_first_owners(ready, query.limit)

    def _of_all(
        self, connection: Connection, query: ReadyOwnersQuery, parameters: dict[str, object]
    ) -> list[ReadyOwner]:
        ready: list[ReadyOwner] = []
        below, statement = MAX_PRIORITY + 1, self._of_one_priority["but" in parameters]
        last = {f"last_{priority}": query.last.get(priority, "") for priority in _PRIORITIES}
        while (count := len(_places(ready))) < query.enough and below > MIN_PRIORITY:
            bounds = {"below": below, "limit": query.limit - count}
            rows = connection.execute(statement, {**parameters, **last, **bounds}).all()
            if not rows:
                break
            ready += [ReadyOwner(*row) for *row, paused in rows if not paused]
            below = rows[0].priority
        return _of_first_owners(ready, query.limit)


def _places(ready: Sequence[ReadyOwner]) -> list[tuple[int, str]]:
    """Return each priority and owner once, in their order."""
    return list(dict.fromkeys((owner.priority, owner.owner) for owner in ready))


def _of_first_owners(ready: Sequence[ReadyOwner], count: int) -> list[ReadyOwner]:
    """Return the first owners with all of their kinds: the oldest chunk may be of any."""
    places = set(_places(ready)[:count])
    return [owner for owner in ready if (owner.priority, owner.owner) in places]


def _has_waiting(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a job has waiting chunks that meet a condition."""
    return exists().where(chunks.c.job_key == jobs.c.job_key, of_workers, condition).correlate(jobs)


def _of_names(dialect: Dialect, condition: ColumnElement[bool]) -> Select[Any]:
    """Return the highest priority of each owner and kind, NULL for none, of named owners with work of any kind."""
    owners, kinds = dialect.keys("owners").subquery("owners"), dialect.keys("kinds").subquery("kinds")
    [owner], [kind] = owners.c, kinds.c
    has_work = exists().select_from(chunks).where(of_workers, condition, chunks.c.owner == owner)
    busy = select(owner.label("owner")).where(has_work).cte("busy")
    place = (chunks.c.priority.desc(), chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
    of_kind = (of_workers, condition, chunks.c.owner == busy.c.owner, chunks.c.kind == kind)
    top = select(chunks.c.priority).where(*of_kind).order_by(*place).limit(1).scalar_subquery()
    claimable = select(top.label("priority"), busy.c.owner, kind.label("kind")).select_from(busy.join(kinds, true()))
    return claimable.where(~is_paused(busy.c.owner, kind))


def _of_one_priority(dialect: Dialect, condition: ColumnElement[bool]) -> Select[Any]:
    """Return the owners of the highest priority below one, from the one after the last on, then the others.

    They are the first of each kind. Each owner is one step in the index to the next one, whatever number of jobs it
    has. Those who paused the kind come last and do not count as found: they show that jobs with this priority wait.
    """
    kinds = dialect.keys("kinds").subquery("kinds")
    [kind] = kinds.c

    def highest(column: ColumnElement[Any], *where: ColumnElement[bool]) -> ColumnElement[Any]:
        top = select(column).where(claimable, condition, *where).order_by(column.desc()).limit(1)
        return top.scalar_subquery()

    below = jobs.c.priority < bindparam("below", type_=Integer)
    priority = highest(jobs.c.priority, jobs.c.kind == kind, below)
    tops = select(kind.label("kind"), priority.label("priority")).cte("tops")
    parts = union_all(*(select(literal_column(str(part)).label("part")) for part in (0, 1))).subquery("parts")
    turn = {priority: bindparam(f"last_{priority}", type_=Text) for priority in _PRIORITIES}
    last = case(turn, value=tops.c.priority)
    of_top = jobs.c.kind == tops.c.kind, jobs.c.priority == tops.c.priority
    owner = jobs.c.owner
    begin = case(
        (parts.c.part == 0, highest(owner, *of_top, owner < last)), else_=highest(owner, *of_top, owner >= last)
    )
    first = (
        select(*tops.c, parts.c.part, last.label("last"), begin.label("owner"), literal_column("0").label("number"))
        .select_from(tops.join(parts, true()))
        .where(tops.c.priority == select(func.max(tops.c.priority)).scalar_subquery())
    )
    turns = first.cte("turns", recursive=True)
    of_turn = jobs.c.kind == turns.c.kind, jobs.c.priority == turns.c.priority, owner < turns.c.owner
    end = case((turns.c.part == 0, literal_column("''")), else_=turns.c.last)
    paused = is_paused(turns.c.owner, turns.c.kind)
    number = turns.c.number + case((paused, literal_column("0")), else_=literal_column("1"))
    following = select(
        turns.c.kind,
        turns.c.priority,
        turns.c.part,
        turns.c.last,
        highest(owner, *of_turn, owner >= end),
        number,
    ).where(turns.c.owner.is_not(None), number < _LIMIT)
    turns = turns.union_all(following)
    paused = is_paused(turns.c.owner, turns.c.kind).label("paused")
    ready = select(turns.c.priority, turns.c.owner, turns.c.kind, paused).where(turns.c.owner.is_not(None))
    return ready.order_by(paused, turns.c.part, turns.c.owner.desc())
