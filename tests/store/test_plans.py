"""SQLite walks an index for the claim and the duties; it sorts nothing and reads no table through."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.artifact_versions import read_versions
from jobledger_service.core.database.rows.attempts import AttemptReads, jobs_of_task
from jobledger_service.core.database.rows.entry import ArtifactsKey
from jobledger_service.core.database.rows.event_terms import EventTerms, term_rows
from jobledger_service.core.database.rows.reads import AttemptPlace, AttemptsWanted, JobRead, Listing
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import attempts, chunks, event_terms, events, job_labels, job_words, jobs
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.chunk import NO_KIND
from jobledger_service.core.model.filters.filter import JobFilter, TimeRange
from jobledger_service.core.model.history.change import CHANGE_BITS, ChangeType
from jobledger_service.core.model.states import JobState
from jobledger_service.core.read.due import HOLDS_DUE, LEASES_DUE, SERVICE_JOBS_DUE, SqlDueStore
from jobledger_service.core.read.event_pages import EventPages, EventsWanted
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.exports.store import ExportKey, SqlExportStore
from jobledger_service.features.limits.store import SLOTS_DUE, LimitStore
from jobledger_service.features.statistics.failures import run_mark
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import StatisticsDelta
from jobledger_service.features.statistics.rules import StatsQuery
from jobledger_service.features.statistics.store import SqlStatisticsStore
from jobledger_service.features.webhooks.deliveries import Delivery, DeliveryAttempt, DeliveryCapacity
from jobledger_service.features.webhooks.delivery_store import DELIVERIES_DUE, SqlDeliveryStore
from jobledger_service.features.webhooks.rules import Secret, Webhook, WebhookEventType
from jobledger_service.features.webhooks.store import EVENTS_DUE, FanoutBatch, SqlWebhookStore
from sqlalchemy import event, insert

DUE = {
    "leases": LEASES_DUE,
    "holds": HOLDS_DUE,
    "slots": SLOTS_DUE,
    "service jobs": SERVICE_JOBS_DUE,
    "webhook events": EVENTS_DUE,
    "webhooks": DELIVERIES_DUE,
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'plans.db'}")
    with closing(opened):
        upgrade(opened)
        with opened.write():  # begins a term
            pass
        yield opened


class Plans:
    """The plans of all statements that a database runs while this listens."""

    def __init__(self, database: Database) -> None:
        self.steps: list[str] = []
        for engine in database.engines:
            event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(self, _connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            parameters = parameters[0] if isinstance(parameters, list) else parameters
            explained = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            self.steps += [step for *_, step in explained]

    def hold(self, index: str) -> None:
        assert any(index in step for step in self.steps), self.steps
        assert not [step for step in self.steps if "TEMP B-TREE" in step], self.steps
        assert not [
            step for step in self.steps if step in ("SCAN jobs", "SCAN chunks", "SCAN events", "SCAN artifact_versions")
        ], self.steps


def test_a_claim_of_one_kind_walks_the_index_of_what_waits(database: Database):
    plans = Plans(database)
    with WriteStore(database).transaction() as transaction:
        transaction.waiting_chunks({("me", "k"): 5})
    plans.hold("chunks_waiting")


def test_a_claim_of_one_job_walks_its_chunks_in_the_index_of_what_waits(database: Database):
    plans = Plans(database)
    with WriteStore(database).transaction() as transaction:
        transaction.waiting_chunks({("me/a", NO_KIND): 5})
    plans.hold("chunks_waiting (owner=? AND kind=? AND priority=? AND create_time=? AND (job_key,chunk_index)>")


@pytest.mark.parametrize(
    ("duty", "index"),
    [
        ("expired_leases", "chunks_leased"),
        ("due_backoffs", "chunks_delayed"),
        ("due_schedules", "jobs_scheduled"),
        ("expired_jobs", "jobs_expiring"),
    ],
)
def test_a_duty_walks_the_index_of_what_may_be_due(database: Database, duty: str, index: str):
    plans = Plans(database)
    for passed_over in [], ["a", "b"]:
        assert getattr(ReadStore(database), duty)(1, 10, passed_over) == []
    plans.hold(index)


def test_the_duty_walks_the_index_of_jobs_with_a_deadline(database: Database):
    plans = Plans(database)
    assert ReadStore(database).overdue_jobs(2, 1, 10) == []
    plans.hold("jobs_ending (deadline>? AND deadline<?)")


def test_the_lookout_walks_the_indexes_of_what_may_be_due(database: Database):
    plans = Plans(database)
    assert SqlDueStore(database, 0, DUE).due(1, 1) == []
    for index in (
        "chunks_leased",
        "chunks_delayed",
        "jobs_scheduled",
        "jobs_ending",
        "chunks_of_service",
        "deliveries_scheduled",
    ):
        plans.hold(index)


def test_slots_and_limits_that_are_due_are_found_by_indexes_of_these_alone(database: Database):
    plans = Plans(database)
    assert SqlDueStore(database, 0, DUE).due(1, 1) == []
    assert LimitStore(database).free_slots(10) == []
    assert LimitStore(database).trim(10) == 0
    assert LimitStore(database).spread(10) == 0
    found = [step for step in plans.steps if " limits" in step]
    assert found == [
        "SCAN limits USING INDEX limits_free",
        "SEARCH limits USING INDEX limits_free (limit_key>?)",
        "SEARCH limits USING INDEX sqlite_autoindex_limits_1 (limit_key=?)",
        "SCAN limits USING INDEX limits_unused",
        "SCAN limits USING INDEX limits_spreading",
    ]


def test_running_totals_that_are_too_old_are_found_by_their_hour(database: Database):
    plans = Plans(database)
    assert SqlStatisticsStore(database).trim(HOUR, 10) == 0
    first = "SEARCH running_totals USING INDEX running_totals_by_hour (hour>? AND hour<?)"
    assert plans.steps[:2] == ["SCAN ledger", first], plans.steps  # its one row says who may write
    assert not [step for step in plans.steps if step.startswith(("SCAN counts", "SCAN rollups", "SCAN running"))]


def test_the_service_finds_its_own_jobs_by_an_index_of_them_alone(database: Database):
    plans = Plans(database)
    assert ReadStore(database).service_queues() == []
    assert "SCAN chunks USING INDEX chunks_of_service" in plans.steps, plans.steps


def test_the_history_of_a_job_walks_its_index(database: Database):
    plans = Plans(database)
    ReadStore(database).events(0, 10, job_key="me/x")
    assert any("SEARCH events USING INDEX events_by_job" in step for step in plans.steps), plans.steps


def test_the_history_of_an_owner_walks_its_index(database: Database):
    plans = Plans(database)
    ReadStore(database).events(0, 10, owner="me")
    found = "SEARCH events USING INDEX events_by_owner (<expr>=? AND position>?)"
    assert found in plans.steps, plans.steps


@pytest.mark.parametrize("after", [ExportKey(0, ""), ExportKey(5, "me/x")])
def test_a_page_of_an_export_walks_its_indexes(database: Database, after: ExportKey):
    plans = Plans(database)
    SqlExportStore(database).export_page(JobFilter("me", create_time=TimeRange(3, 9)), 0, after, 10)
    between = "(owner=? AND (create_time,job_key)>(?,?) AND (create_time,job_key)<(?,?))"
    plans.hold(f"jobs USING INDEX jobs_by_create_time {between}")
    plans.hold(f"tombstones USING COVERING INDEX tombstones_by_create_time {between}")
    plans.hold("events USING COVERING INDEX events_by_job (job_key=? AND position>?)")


@pytest.mark.parametrize("chunk_index", [None, 3])
@pytest.mark.parametrize("task_id", ["", "t"])
def test_attempts_walk_the_keys_of_their_job(database: Database, chunk_index: int | None, task_id: str):
    with WriteStore(database).transaction() as transaction:
        plans = Plans(database)
        AttemptReads(database.dialect, UnreadableRows()).page(
            transaction.connection, AttemptsWanted("me/x", chunk_index, task_id, AttemptPlace(5, 2), 10), 1_000
        )
    of_chunks = "chunk_index>?" if chunk_index is None else "chunk_index=?"
    walks = [step for step in plans.steps if step.startswith("SEARCH") or step == "MERGE (UNION ALL)"]
    assert walks == [
        "MERGE (UNION ALL)",  # what is sorted after it is a page
        f"SEARCH chunks USING PRIMARY KEY (job_key=? AND {of_chunks})",
        "SEARCH attempts USING PRIMARY KEY (job_key=? AND (chunk_index,attempt_number)>(?,?))",
    ], plans.steps


def test_the_last_attempts_of_jobs_walk_the_index_of_their_ends(database: Database):
    read = JobRead("me/x", JobState.RUNNING, 1, 1, 5, "", 1, b"", 0, more_chunks=True)
    with WriteStore(database).transaction() as transaction:
        plans = Plans(database)
        assert list(AttemptReads(database.dialect, UnreadableRows()).added(transaction.connection, [read]))
    plans.hold("attempts USING COVERING INDEX attempts_by_time (job_key=?)")


def test_the_artifacts_of_events_are_found_by_their_keys(database: Database):
    plans = Plans(database)
    keys = [ArtifactsKey("me/a", b"1" * 16, index, 1) for index in range(20)]
    with database.read() as connection:
        assert read_versions(connection, keys) == {}
    plans.hold(
        "artifact_versions USING INDEX sqlite_autoindex_artifact_versions_1 (job_key=? AND uid=? AND chunk_index=?"
    )


def test_jobs_are_found_by_the_index_of_tasks(database: Database):
    with WriteStore(database).transaction() as transaction:
        plans = Plans(database)
        jobs_of_task(transaction.connection, "me", "t", 10)
    plans.hold("chunks_by_task (owner=? AND task_id=?)")
    plans.hold("attempts_by_task (task_id=? AND job_key>? AND job_key<?)")
    plans = Plans(database)
    assert ReadStore(database).list_jobs(Listing(JobFilter("me", task_id="t"), count_to=10)).jobs == []
    plans.hold("chunks USING COVERING INDEX chunks_by_task (owner=? AND task_id=? AND job_key=?)")
    plans.hold("attempts USING COVERING INDEX attempts_by_task (task_id=? AND job_key=?)")


def test_jobs_and_chunks_are_found_by_their_keys(database: Database):
    plans = Plans(database)
    with WriteStore(database).transaction() as transaction:
        transaction.jobs(["me/a", "me/b"])
        transaction.chunks([("me/a", 0), ("me/b", 1)])
    assert any("SEARCH jobs" in step for step in plans.steps), plans.steps
    assert any("SEARCH chunks USING PRIMARY KEY (job_key=? AND chunk_index=?)" in step for step in plans.steps)


@pytest.mark.parametrize("count", [1, 10, 100])
def test_changed_rows_are_found_by_their_keys(database: Database, count: int):
    keys = [{"job_key": f"me/{n}"} for n in range(count)]
    plans = Plans(database)
    with database.write() as connection:
        row_sets = RowSets(database.dialect)
        row_sets.update(connection, jobs, [key | {"priority": 1} for key in keys])
        row_sets.update(connection, chunks, [key | {"chunk_index": 0, "priority": 1} for key in keys])
        row_sets.update(connection, job_words, [key | {"words": "a b"} for key in keys])
        row_sets.delete(connection, attempts, [key | {"chunk_index": 0, "attempt_number": 1} for key in keys])
        of_label = {"index_number": 1, "owner": "me", "digest": 1, "create_time": 1}
        row_sets.delete(connection, job_labels, [of_label | key for key in keys])
        row_sets.update(connection, job_labels, [of_label | key | {"state": "QUEUED"} for key in keys])
    tables = ("jobs", "chunks", "job_words", "attempts", "job_labels")
    walked = {step for step in plans.steps if any(f" {table} " in f"{step} " for table in tables)}
    assert {step.partition(" USING ")[0] for step in walked} == {f"SEARCH {table}" for table in tables}


@pytest.mark.parametrize("step", [0, 1, 24])
@pytest.mark.parametrize("kinds", [(), ("a", "b")])
def test_statistics_walk_counts_rollups_and_totals_by_their_keys_and_no_jobs(
    database: Database, kinds: tuple[str, ...], step: int
):
    tally = StatisticsDelta()
    for kind in ("a", "b"):
        tally.add_count(("me", kind, "QUEUED"), 1, 1, 0)
        tally.add_rollup(("me", 30, kind, "CREATED", 0), 1, 0)
    with WriteStore(database).transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, tally)
    plans = Plans(database)
    figures = SqlStatisticsStore(database).figures(StatsQuery("me", kinds, range(5, 50), step))
    assert [one.jobs for one in figures.kinds.values()] == [{JobState.QUEUED: 1}] * 2
    read = {step for step in plans.steps if any(table in step for table in ("counts", "rollups", "total", "jobs"))}
    assert read
    for one in read:
        assert any(
            walked in one
            for walked in (
                "SEARCH counts USING PRIMARY KEY (owner=?",
                "SEARCH rollups USING PRIMARY KEY (owner=? AND hour>? AND hour<?)",  # the next hour of a few
                "SEARCH rollups USING PRIMARY KEY (owner=? AND hour=? AND kind=?)",
                "SEARCH running_totals USING INDEX sqlite_autoindex_running_totals_1 (owner=? AND kind=?",
                "SEARCH running_totals USING COVERING INDEX sqlite_autoindex_running_totals_1 (owner=? AND kind=?",
                "SEARCH total USING INDEX sqlite_autoindex_running_totals_1 (owner=? AND kind=? AND hour=?)",
                "SEARCH jobs USING COVERING INDEX jobs_by_kind (owner=? AND kind=? AND state=?)",
                "SEARCH jobs USING INDEX jobs_by_state (owner=? AND state=?)",  # its first entry alone
            )
        ), (one, plans.steps)


def test_failures_are_counted_summed_and_deleted_along_their_keys(database: Database):
    delta, statistics = StatisticsDelta(), SqlStatisticsStore(database)
    delta.failures = {("me/a", 24, 24): {("E", ""): (1, run_mark("j", 30 * HOUR))}}
    plans = Plans(database)
    with WriteStore(database).transaction() as transaction:
        add_statistics(transaction.connection, database.dialect, delta)
    assert statistics.figures(StatsQuery("me", ("a",), range(5, 100))).failures.shown
    assert statistics.trim(60 * HOUR, 10) == 1
    of_row = "(hour=? AND kind_key=? AND hours=? AND error_code=? AND stage=?)"
    assert {step for step in plans.steps if "failures" in step} == {
        "SEARCH failures USING COVERING INDEX failures_by_hour (hour=? AND kind_key=? AND hours=?)",
        "SEARCH failures USING PRIMARY KEY (kind_key=? AND hours=? AND hour>? AND hour<?)",
        "SEARCH failures USING COVERING INDEX failures_by_hour (hour<?)",
        f"SEARCH failures USING COVERING INDEX failures_by_hour {of_row}",
    }
    assert any("SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (job_key=?)" in step for step in plans.steps)


WEBHOOK = Webhook("me", "w", "https://example.org/", (Secret("whsec_c2VjcmV0", 1),), 1, 1, state_time=1)
ROOM = DeliveryCapacity(total=10, per_webhook=10, busy={})


def test_deliveries_that_are_due_and_the_next_of_a_job_walk_their_indexes(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    webhook = store.create(WEBHOOK, 1)
    made = [Delivery(webhook.key, position, 0, "me/x", WebhookEventType.JOB_CREATED, 1) for position in (1, 2)]
    plans = Plans(database)
    assert store.record_batch(FanoutBatch(0, 2, None, made), 5)
    assert delivery_store.is_due(5)
    plans.hold("deliveries_scheduled")
    [(_, first)] = delivery_store.settle_and_claim([], lambda same, _: same, ROOM, 5, 10)
    done = first.attempted(DeliveryAttempt(5, 1, 200, ""), None)
    plans.steps.clear()
    [(_, second)] = delivery_store.settle_and_claim([done], lambda same, _: same, ROOM, 6, 10)
    assert (first.position, second.position) == (1, 2)
    plans.hold("deliveries_pending_of_job (webhook_key=? AND job_key=?")
    assert "SCAN deliveries" not in plans.steps


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_history_of_an_owner_walks_an_index_from_the_time_that_was_asked_for(
    database: Database, *, newest_first: bool
):
    wanted = EventsWanted(owner="b", newest_first=newest_first, changes=frozenset({ChangeType.CLAIMED}))
    row = {"commit_time": 1, "changes": CHANGE_BITS[ChangeType.CLAIMED], "message": b"", "artifacts_bytes": 0}
    with database.write() as connection:
        connection.execute(insert(events), [{"position": n, "job_key": f"{o}/x", **row} for n, o in enumerate("ab")])
        plans = Plans(database)
        assert [one.position for one in EventPages(database.dialect).read(connection, wanted, None, 10).rows] == [1]
    # what is sorted then is what the walk looked at, a bounded number of positions
    assert "SEARCH events USING INDEX events_by_owner (<expr>=? AND position>? AND position<?)" in plans.steps
    assert "SCAN events" not in plans.steps


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("owner", ["b", None])
def test_events_with_terms_are_walked_by_term_and_read_by_position(
    database: Database, owner: str | None, *, newest_first: bool
):
    changes = frozenset({ChangeType.CANCEL_REQUESTED, ChangeType.DELETED})
    wanted = EventsWanted(owner=owner, newest_first=newest_first, changes=changes, actors=["me"], kinds=["k"])
    terms = [EventTerms(n, "b", "k", [(ChangeType.CANCEL_REQUESTED, "me")]) for n in range(5)]
    row = {"job_key": "b/x", "commit_time": 1, "changes": 1, "message": b"", "artifacts_bytes": 0}
    with database.write() as connection:
        connection.execute(insert(events), [{"position": one.position, **row} for one in terms])
        connection.execute(insert(event_terms), term_rows(terms))
        plans = Plans(database)
        found = EventPages(database.dialect).read(connection, wanted, None, 2)
        assert [one.position for one in found.rows] == ([4, 3] if newest_first else [1, 2])
    assert "SEARCH event_terms USING PRIMARY KEY (term=? AND block>? AND block<?)" in plans.steps
    assert "SEARCH event_terms USING PRIMARY KEY (term=? AND block=?)" in plans.steps
    # of the others the job does not matter: a position is one event
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)" in plans.steps
    assert any(step.startswith("SEARCH audit USING INDEX audit_by_position (position=?)") for step in plans.steps)
    assert not [step for step in plans.steps if step in ("SCAN event_terms", "SCAN events", "SCAN audit")]
