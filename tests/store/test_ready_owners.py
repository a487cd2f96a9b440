"""Finding owners with work costs as much whoever has none, and however much those have that have some."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import chunks, jobs, paused_kinds
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.write.ready_owners import ReadyOwner, ReadyOwners, ReadyOwnersQuery
from jobledger_service.core.write.waiting_chunks import WaitingChunks
from sqlalchemy import Connection, LargeBinary, Table, Text, event, insert, text

ALL = Owners(all=True)
BUSY = [f"b{number}" for number in range(5)]
NAMED = Owners(frozenset(BUSY))
IDLE = [f"i{number}" for number in range(3_000)]


def blank_of(table: Table) -> dict[str, Any]:
    empty = {LargeBinary: b"", Text: ""}
    return {column.name: empty.get(type(column.type), 0) for column in table.c if not column.nullable}


def rows_of(owner: str, count: int = 1, kind: str = "k", priority: int = 5, state: str = "PENDING") -> list[Any]:
    blank = blank_of(chunks)
    of_job = {
        "owner": owner,
        "kind": kind,
        "priority": priority,
        "state": state,
        "job_key": f"{owner}/{kind}{priority}",
    }
    leased = {"lease_expire_time": 1 if state == "PROCESSING" else None}
    return [{**blank, **of_job, **leased, "chunk_index": index} for index in range(count)]


def jobs_of(rows: Sequence[Any]) -> list[Any]:
    """Return the rows of the jobs of chunks."""
    blank = blank_of(jobs) | {"state": "RUNNING", "revision": 1}
    same = ("job_key", "owner", "kind", "priority")
    waiting = {row["job_key"] for row in rows if row["state"] == "PENDING"}
    found = {row["job_key"]: {name: row[name] for name in same} for row in rows}
    return [{**blank, **row, "claimable": int(key in waiting)} for key, row in found.items()]


def fill(database: Database, rows: Sequence[Any]) -> None:
    with database.write() as connection:
        connection.execute(insert(chunks), rows)
        connection.execute(insert(jobs), jobs_of(rows))
        connection.execute(text("ANALYZE"))


def ready(
    database: Database,
    owners: Owners,
    *kinds: str,
    enough: int = 20,
    last: Mapping[int, str] | None = None,
    excluded: Sequence[str] = (),
) -> list[ReadyOwner]:
    wanted = ReadyOwnersQuery(owners, kinds or ("k",), enough, enough, last or {})
    with database.read() as connection:
        return ReadyOwners(database.dialect).read(connection, wanted, excluded)


class Measured:
    """What statements cost: how many there are, and the rows that PostgreSQL looks at, or the steps of SQLite."""

    def __init__(self, database: Database) -> None:
        self._engine = database.reader
        self._sqlite = database.single_writer
        self.statements = 0
        self.work = 0

    def __enter__(self) -> Self:
        event.listen(self._engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "chunks" not in statement and "jobs" not in statement:
            return
        self.statements += 1
        other = cursor.connection.cursor()
        if self._sqlite:
            steps: list[None] = []
            cursor.connection.set_progress_handler(lambda: steps.append(None), 1)
            other.execute(statement, parameters).fetchall()
            cursor.connection.set_progress_handler(None, 1)
            self.work += len(steps)
        else:
            other.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            [((plan,),)] = other.fetchall()
            self._add(plan["Plan"])

    def _add(self, node: dict[str, Any]) -> None:
        if node.get("Relation Name") in ("chunks", "jobs"):
            self.work += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for inner in node.get("Plans", ()):
            self._add(inner)


@pytest.mark.guarantee("3b.9")
def test_owners_without_work_and_the_amount_of_work_of_others_cost_nothing(database: Database):
    def cost(owners: Owners) -> tuple[int, int]:
        with Measured(database) as measured:
            assert {one.owner for one in ready(database, owners)} == set(BUSY)
        return measured.statements, measured.work

    fill(database, [row for owner in BUSY for row in rows_of(owner, 2)])
    fill(database, [row for owner in IDLE[:10] for row in rows_of(owner, state="PROCESSING")])
    few = {owners: cost(owners) for owners in (ALL, NAMED)}
    fill(database, [row for owner in IDLE[10:] for row in rows_of(owner, state="PROCESSING")])
    fill(database, [row for owner in IDLE for row in rows_of(owner, kind="other")])
    fill(database, [row | {"job_key": f"b0/large{row['chunk_index']}"} for row in rows_of("b0", 2_000)])
    for owners, (few_statements, little_work) in few.items():
        statements, work = cost(owners)
        assert statements == few_statements <= 2
        assert 0 < work <= little_work + 5, "the first place of an index page may differ"


def test_named_owners_without_work_are_not_read(database: Database):
    fill(database, [row for owner in [*BUSY, *IDLE] for row in rows_of(owner, state="PROCESSING")])
    fill(database, [row | {"job_key": f"{row['owner']}/w"} for owner in BUSY[:2] for row in rows_of(owner)])
    named = Owners(frozenset([*BUSY, *IDLE[:90]]))
    with Measured(database) as measured:
        assert [one.owner for one in ready(database, named)] == BUSY[1::-1]
    assert measured.statements == 1
    if not database.single_writer:
        assert measured.work <= 4


def test_the_most_urgent_come_first_and_owners_of_one_priority_from_the_last_turn_on(database: Database):
    fill(database, [row for owner in BUSY for row in rows_of(owner, 3)])
    fill(database, [*rows_of("b2", priority=7), *rows_of("z", kind="m"), *rows_of("b1", kind="m", priority=3)])
    of_k = ["b4", "b3", "b2", "b1", "b0"]
    for owners in ALL, Owners(frozenset(["z", *BUSY])):
        assert [(one.priority, one.owner) for one in ready(database, owners)][:2] == [(7, "b2"), (5, "b4")]
        both = ready(database, owners, "k", "m", last={5: "b3", 3: "b1"})
        others = [one.owner for one in both if one.priority == 5 and one.owner != "b2"]
        assert others == ["b1", "b0", "z", "b4", "b3"]
        assert both[-1] == (3, "b1", "m")
    assert [one.owner for one in ready(database, ALL, enough=6)] == ["b2", *of_k]
    assert [one.owner for one in ready(database, ALL, enough=1)] == ["b2"]


@pytest.mark.guarantee("3b.4")
def test_chunks_that_cannot_be_read_keep_no_other_owner_from_its_turn(database: Database):
    fill(database, [*rows_of("a", priority=9), *rows_of("b", 2, priority=8), *rows_of("c")])
    for owners in ALL, Owners(frozenset("abc")):
        assert [one.owner for one in ready(database, owners, enough=1, excluded=["a/k9"])] == ["b"]
        bad = ["a/k9", "b/k8#0", "b/k8#1"]
        assert [one.owner for one in ready(database, owners, enough=1, excluded=bad)] == ["c"]


def pause(database: Database, owner: str, kind: str = "k") -> None:
    row = {"owner": owner, "kind": kind, "reason": "", "paused_by": "", "pause_time": 1, "update_time": 1}
    with database.write() as connection:
        connection.execute(insert(paused_kinds).values(row))


def test_a_paused_kind_takes_no_turn_and_its_chunks_cost_nothing(database: Database):
    def cost(owners: Owners) -> int:
        with Measured(database) as measured:
            found = ready(database, owners, "k", "m", enough=3)
        assert found[0] == (5, "b3", "k")
        assert sorted(found[1:]) == [(5, "b0", "k"), (5, "b0", "m")]
        return measured.work

    fill(database, [*rows_of("b4"), *rows_of("b3"), *rows_of("b2", priority=9), *rows_of("b1"), *rows_of("b0")])
    fill(database, rows_of("b0", kind="m"))
    for owner in "b4", "b2", "b1":
        pause(database, owner)
    few = {owners: cost(owners) for owners in (ALL, NAMED)}
    for owner, priority in ("b4", 5), ("b2", 9), ("b1", 5):
        more = rows_of(owner, 2_000, priority=priority)
        fill(database, [row | {"job_key": f"{owner}/large{row['chunk_index']}"} for row in more])
    for owners, little_work in few.items():
        assert 0 < cost(owners) <= little_work + 10, "the first place of an index page may differ"


def test_the_queue_of_a_paused_kind_is_empty_and_not_walked(database: Database):
    waiting = WaitingChunks(database.dialect)

    def cost(*found: str) -> int:
        with Measured(database) as measured, database.read() as connection:
            read = waiting.read(connection, {("b0", "k"): 5, ("b1", "k"): 5})
        assert [owner for owner, _ in read] == [*found]
        return measured.work

    fill(database, [*rows_of("b0"), *rows_of("b1")])
    both = cost("b0", "b1")
    pause(database, "b0")
    one = cost("b1")
    fill(database, [row | {"job_key": "b0/large"} for row in rows_of("b0", 2_000)])
    assert cost("b1") <= one + 10
    assert both
