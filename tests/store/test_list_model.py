"""Lists against a model: whatever the filter, the order, and the way in which a page is found."""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.label_indexes import index_labels
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.reads import Listing, Order, View
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.model.filters.filter import FilterFields, JobFilter, LabelCondition, TimeRange
from jobledger_service.core.model.filters.search import MAX_SEARCH_WORDS, words
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.model.states import JobState
from jobledger_service.core.read.listing import Budget
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import StatisticsDelta
from msgspec.structs import replace

from bench.population import JobPopulation, add_job
from tests.support.crowds import END
from tests.support.databases import new_database

pytestmark = pytest.mark.long  # random lists of a crowd of jobs

DAY = 86_400_000_000
LETTERS = "aAÀàßſİıǅﬃŉ०1²٣日ー゛한ก็e\u0301\u200d_-§*\"'\\&|!:() 😀xyz"  # noqa: RUF001  on purpose
BUDGETS = (Budget(), Budget(0, 30, 0, 30, 30), Budget(0, 1, 1_000, 0, 1))
"""As served; looking at few rows, and sorting none; sorting whatever an index can find."""

Jobs = dict[str, FilterFields]


@pytest.fixture(scope="module")
def population(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Jobs]]:
    """Return a database with some hundred jobs, and what is known of each by its key."""
    with closing(open_database(new_database(store, tmp_path_factory.mktemp("population")))) as database:
        upgrade(database)
        known: Jobs = {}
        for writes, statistics in (*JobPopulation(400, END, chunks=(1,)).writes(400), oddly_named(), runs()):
            with WriteStore(database).transaction() as transaction:
                transaction.save(writes)
                add_statistics(transaction.connection, database.dialect, statistics)
            known |= {job.key: FilterFields.of(job) for job, *_ in writes.new_jobs}
        index_labels(database, ["team", "n"])  # and not "env"
        yield database, known


def runs() -> tuple[Writes, StatisticsDelta]:
    """Return jobs of the service's own, among the others in time."""
    writes, statistics = Writes(), StatisticsDelta()
    for number in range(60):
        new = NewJob(JobSpec("default", f"run-{number}", BULK, b""), [0], labels={"team": "media"})
        job = create(new, "caller", END - number * DAY).job
        add_job(writes, replace(job, revision=1))
        statistics.add_count(("default", BULK, job.state.value), 1, 1, 0)
    return writes, statistics


def oddly_named() -> tuple[Writes, StatisticsDelta]:
    """Return jobs whose names have what is hard about Unicode."""
    rng, writes, statistics = random.Random(1), Writes(), StatisticsDelta()
    for number in range(200):
        name = "".join(rng.choices(LETTERS, k=rng.randint(1, 12)))
        new = NewJob(JobSpec("odd", f"{number}", "k", b""), [0], display_name=name, labels={"n": name})
        job = create(new, "caller", number + 1).job
        add_job(writes, replace(job, revision=1))
    return writes, statistics


def listed(database: Database, listing: Listing, budget: Budget) -> list[str]:
    """Return all keys of a list, page by page."""
    reads, keys = ReadStore(database, budget), []
    while True:
        page = reads.list_jobs(listing)
        keys += [one.key for one in page.jobs]
        if page.next is None:
            return keys
        listing = replace(listing, after=page.next)


def place(order: Order, key: str, filter_fields: FilterFields) -> tuple[float, int, str]:
    value = getattr(filter_fields, order.value)
    return (float("inf") if value is None else value, filter_fields.create_time, key)


KINDS = ["crawl.images", "transcode.video", "ocr.pages", "embed.text", "index.rebuild", "legal.hold", BULK]
spans = st.none() | st.tuples(st.integers(0, 90), st.integers(1, 90))
filters = st.fixed_dictionaries(
    {},
    optional={
        "states": st.frozensets(st.sampled_from(JobState), max_size=3),
        "kinds": st.frozensets(st.sampled_from(KINDS), max_size=7),
        "include_service_jobs": st.booleans(),
        "min_priority": st.integers(0, 10),
        "max_priority": st.integers(0, 10),
        "labels": st.sampled_from(
            [{"team": "media"}, {"team": "legal"}, {"env": "production"}, {"team": "media", "env": "production"}]
        ),
        "label_conditions": st.sampled_from(
            [
                ("team", ("legal", "media")),
                ("team", ("none",)),
                ("team", (*"abcdefgh", "finance", "search")),
                ("team", ()),
                ("env", ("production", "x")),
                ("x", ()),
            ]
        ).map(lambda given: (LabelCondition(*given),)),
        "error_code": st.sampled_from(["DISK_FULL", "TIMEOUT"]),
        "start_time": spans,
        "search": st.lists(st.sampled_from(["part", "invoices", "crawl", "0", "1", "uber", "30"]), max_size=2).map(
            tuple
        ),
        "create_time": spans,
        "update_time": spans,
        "end_time": spans,
    },
)


def span(days: tuple[int, int] | None) -> TimeRange:
    if days is None:
        return TimeRange()
    return TimeRange(END - days[0] * DAY, None if days[1] > days[0] else END - days[1] * DAY + 1)


few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@few
@given(
    fields=filters,
    order=st.sampled_from(Order),
    ascending=st.booleans(),
    limit=st.sampled_from([9, 40, 500]),
    budget=st.sampled_from(BUDGETS),
)
def test_pages_are_what_a_model_reports(
    population: tuple[Database, Jobs], fields: dict[str, Any], order: Order, ascending: bool, limit: int, budget: Budget
):
    database, known = population
    times = {
        name: span(fields[name]) for name in ("create_time", "start_time", "update_time", "end_time") if name in fields
    }
    wanted = JobFilter("default", **(fields | times))
    expected = sorted(
        place(order, key, filter_fields) for key, filter_fields in known.items() if wanted.matches(filter_fields)
    )
    listing = Listing(wanted, order, ascending=ascending, limit=limit, view=View.STATUS)
    assert listed(database, listing, budget) == [key for *_, key in (expected if ascending else expected[::-1])]
    first = ReadStore(database, budget).list_jobs(replace(listing, count_to=50))
    assert first.count == len(expected) if not first.more else first.count <= min(len(expected), 50)


@few
@given(text=st.text(LETTERS, min_size=1, max_size=8), begin=st.integers(0, 199), budget=st.sampled_from(BUDGETS))
def test_a_search_finds_the_same_by_every_way_and_in_a_watch(
    population: tuple[Database, Jobs], text: str, begin: int, budget: Budget
):
    database, known = population
    for searched in (words(text), words(known[f"odd/{begin}"].display_name[: len(text)])):
        if 0 < len(searched) <= MAX_SEARCH_WORDS:
            wanted = JobFilter("odd", search=searched)
            expected = {key for key, filter_fields in known.items() if wanted.matches(filter_fields)}
            assert set(listed(database, Listing(wanted, view=View.STATUS), budget)) == expected
    labelled = JobFilter("odd", labels={"n": known[f"odd/{begin}"].display_name})
    assert f"odd/{begin}" in listed(database, Listing(labelled, view=View.STATUS), budget)
