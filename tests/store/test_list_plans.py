"""Lists of 100,000 jobs walk an index, on every page: no jobs are sorted, and no table is read through."""

import json
from typing import Any, Self

import pytest
from jobledger_service.domain.filter import JobFilter, TimeRange
from jobledger_service.domain.states import ENDED, JobState
from jobledger_service.ledger.ports import Listing, Order, PageKey
from jobledger_service.store.engines import Database
from jobledger_service.store.reading import SqlReadStore
from sqlalchemy import event

from tests.support.crowds import END

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
        if node.get("Relation Name") == "jobs" or "jobs_by" in node.get("Index Name", ""):
            self.rows += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for inner in node.get("Plans", ()):
            self._add(inner)

    def hold(self) -> None:
        """Assert that nothing was sorted and no table of many rows was read through."""
        wrong = ("TEMP B-TREE", "Sort", "SCAN jobs", "SCAN job_words", "Seq Scan jobs", "Seq Scan job_words")
        assert not [step for step in self.steps if any(bad in step for bad in wrong)], self.steps


def middle(database: Database, listing: Listing) -> PageKey:
    """Return a place far within a list: behind 1,500 of its jobs."""
    reads, after = SqlReadStore(database), None
    for _ in range(3):
        after = reads.list_jobs(Listing(listing.filter, listing.order, listing.ascending, after, 500)).next
        assert after is not None
    return after


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("order", "name", "fields"), CASES, ids=[f"{order}-{name}" for order, name, _ in CASES])
def test_a_page_walks_an_index_at_the_start_and_deep_within(
    large: Database, order: Order, name: str, fields: dict[str, Any], ascending: bool
):
    listing = Listing(JobFilter("default", **fields), order, ascending=ascending)
    after = middle(large, listing)
    for place, count_to in ((None, 1_000), (after, 0)):
        with Plans(large) as plans:
            listed = SqlReadStore(large).list_jobs(Listing(listing.filter, order, ascending, place, count_to=count_to))
        plans.hold()
        assert len(listed.jobs) == 20
        # The rows of the pages, one more, and what is read to merge the arms; more is walked for counting alone.
        assert plans.rows <= 100 + 2 * count_to, (name, plans.steps)


def test_rare_words_are_found_by_full_text_alone(large: Database):
    # Seven digits that one job and its copies have: no look at the newest jobs finds them.
    wanted = JobFilter("default", search=("0000007",))
    other = JobFilter("acme", search=("0000007",))
    with Plans(large) as plans:
        found = [SqlReadStore(large).list_jobs(Listing(one, count_to=1_000)) for one in (wanted, other)]
    assert sorted(one.count for one in found)[-1] == 200
    assert not [step for step in plans.steps if "Seq Scan" in step or "SCAN jobs" in step], plans.steps
    assert any("VIRTUAL TABLE" in step or "job_words_search" in step for step in plans.steps), plans.steps
    assert json.dumps(plans.steps).count("jobs_by_") >= 1
