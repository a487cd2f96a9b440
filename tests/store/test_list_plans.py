"""Lists of 100,000 jobs walk an index, on every page: no jobs are sorted, and no table is read through."""

from typing import Any, Self

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.label_indexes import index_labels, ready_indexes
from jobledger_service.core.database.rows.reads import Listing, Order, PageKey
from jobledger_service.core.database.tables import job_labels
from jobledger_service.core.model.filters.filter import JobFilter, LabelCondition, TimeRange
from jobledger_service.core.model.filters.label_indexes import NO_LABEL_INDEXES, LabelIndexes
from jobledger_service.core.model.states import ENDED, JobState
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.read.routes import Steps, routes
from msgspec.structs import replace
from sqlalchemy import event, select

from bench.seed import analyse
from tests.support.crowds import END

pytestmark = pytest.mark.long  # 100,000 jobs are made

OWNERS = ("default", "acme", "globex", "initech")
DAY = 86_400_000_000
SINCE = TimeRange(END - 40 * DAY, END - 2 * DAY)

FAST = {
    "all": {},
    "a state": {"states": frozenset({JobState.COMPLETED})},
    "states": {"states": ENDED},
}
FAST_BY_CREATION = FAST | {
    "a kind": {"kinds": frozenset({"crawl.images"})},
    "kinds and states": {"kinds": frozenset({"crawl.images", "ocr.pages"}), "states": ENDED},
    "a range": {"create_time": SINCE, "states": ENDED},
}
CASES = [
    *((Order.CREATE_TIME, name, wanted) for name, wanted in FAST_BY_CREATION.items()),
    *((order, name, wanted) for order in list(Order)[1:] for name, wanted in FAST.items()),
    (Order.UPDATE_TIME, "a range", {"update_time": SINCE}),
    (Order.END_TIME, "a range", {"end_time": SINCE}),
    (Order.PRIORITY, "a range", {"min_priority": 5, "max_priority": 7}),
]


class Plans:
    """The plans of all statements that a database runs meanwhile, and how many rows they look at."""

    def __init__(self, database: Database) -> None:
        self._engine = database.reader
        self._sqlite = database.single_writer
        self.steps: list[str] = []
        self.rows = 0

    def __enter__(self) -> Self:
        event.listen(self._engine, "before_cursor_execute", self._explain)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._explain)

    def _explain(self, _connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        other = cursor.connection.cursor()
        if self._sqlite:
            self.steps += [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            return
        other.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        [((plan,),)] = other.fetchall()
        self._add(plan["Plan"])

    def _add(self, node: dict[str, Any]) -> None:
        self.steps.append(f"{node['Node Type']} {node.get('Relation Name', '')} {node.get('Index Name', '')}".strip())
        if node.get("Relation Name") in ("jobs", "job_labels") or "jobs_by" in node.get("Index Name", ""):
            self.rows += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for inner in node.get("Plans", ()):
            self._add(inner)

    def hold(self, *, sorts: bool = False) -> None:
        """Assert that nothing was sorted, unless few are, and that no table of many rows was read through."""
        tables = ("jobs", "job_words", "job_labels")
        wrong = [f"{scan} {table}" for scan in ("SCAN", "Seq Scan") for table in tables]
        if not sorts:
            wrong += ["TEMP B-TREE", "Sort"]
        assert not [step for step in self.steps if any(bad in step for bad in wrong)], self.steps


def middle(database: Database, listing: Listing, indexes: LabelIndexes) -> PageKey:
    """Return a place far within a list: 2,000 jobs on."""
    parts = routes(listing.filter, listing.order, indexes, ascending=listing.ascending)
    [longest] = [part for part in parts if part.order is listing.order]
    with database.read() as connection:
        [place] = Steps(connection, database.dialect, listing.ascending).fetch(longest, 1, skip=2_000)
    return place


def hold_of(large: Database, listing: Listing, indexes: LabelIndexes = NO_LABEL_INDEXES) -> None:
    """Assert that the first page of a list, and one far within, walk an index no further than they have to."""
    for place, count_to in ((None, 1_000), (middle(large, listing, indexes), 0)):
        with Plans(large) as plans:
            listed = ReadStore(large).list_jobs(replace(listing, after=place, count_to=count_to))
        plans.hold()
        assert len(listed.jobs) == listing.limit
        # The rows of the page, one more, those to merge the arms; and what is counted.
        assert plans.rows <= 100 + 2 * count_to, plans.steps


# One test, and not one a case: the ledger is made once for each process that runs some of them.
def test_lists_of_100000_jobs_walk_an_index_at_the_start_and_deep_within(large: Database):
    for order, _, fields in CASES:
        for ascending in (False, True):
            hold_of(large, Listing(JobFilter("default", **fields), order, ascending=ascending))
    # Seven digits that one job and its copies have: no look at the newest jobs finds them.
    with Plans(large) as plans:
        wanted = (JobFilter(owner, search=("0000007",)) for owner in OWNERS)
        counts = [ReadStore(large).list_jobs(Listing(one, count_to=1_000)).count for one in wanted]
    assert sorted(counts) == [0, 0, 0, 200]
    plans.hold(sorts=True)
    # The few that it finds are read by their keys, and not out of all of the owner's.
    assert any("(job_key=?)" in step or "jobs_pkey" in step for step in plans.steps), plans.steps
    assert any("VIRTUAL TABLE" in step or "job_words_search" in step for step in plans.steps), plans.steps
    hold_of_indexed_labels(large)


INDEXED = {
    "a value": {"labels": {"team": "documents"}},
    "a value and states": {"labels": {"team": "documents"}, "states": ENDED},
    "values": {"label_conditions": (LabelCondition("team", ("documents", "media")),)},
}
MAX_STEPS = 6_000
"""Instructions of SQLite's machine for a page of 20 jobs; with a row more it takes some 30."""


class MachineSteps:
    """How many instructions SQLite runs meanwhile on connections that are new: none on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.count = 0

    def __enter__(self) -> Self:
        if self._database.single_writer:
            self._database.reader.dispose()
            event.listen(self._database.reader, "connect", self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        if self._database.single_writer:
            event.remove(self._database.reader, "connect", self._watch)
            self._database.reader.dispose()

    def _watch(self, connection: Any, _record: object) -> None:
        def counted() -> None:
            self.count += 100

        connection.set_progress_handler(counted, 100)


def hold_of_indexed_labels(large: Database) -> None:
    """Assert that lists by a value of an indexed label walk its index; index no label any more."""
    index_labels(large, ["team"])
    analyse(large)
    large_reads = ReadStore(large)
    with large.read() as connection:
        ready = ready_indexes(connection, JobFilter("default", labels={"team": ""}))
    for order in (Order.CREATE_TIME, Order.END_TIME, Order.PRIORITY):
        for name, fields in INDEXED.items():
            if order is Order.PRIORITY and "states" in fields:
                continue  # states are tested on the rows of the walk
            for ascending in (False, True):
                wanted = JobFilter("default", include_service_jobs=True, **fields)
                listing = Listing(wanted, order, ascending=ascending)
                walks = routes(listing.filter, order, ready, ascending=ascending)
                assert all(one.by.table is job_labels and not one.tests for one in walks), name
                hold_of(large, listing, ready)
                deep = replace(listing, after=middle(large, listing, ready))
                with MachineSteps(large) as steps:
                    large_reads.list_jobs(deep)
                assert steps.count <= MAX_STEPS, (order, name)
    index_labels(large, [])
    with large.read() as connection:
        assert connection.execute(select(job_labels.c.job_key).limit(1)).first() is None
