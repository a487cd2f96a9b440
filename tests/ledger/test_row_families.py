"""Rows of families: they lock after jobs, by rank and key; what is refused leaves them as they were."""

import re
from itertools import pairwise

import pytest
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.chunk import Artifact, WorkError
from jobledger_service.core.model.job import JobSpec, Stage
from jobledger_service.core.model.leases import Lease
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.work import NO_RESULTS, Claim, Failure, WorkReport
from jobledger_service.core.write.commands import ClaimChunks, CompleteChunks, CreateJob, FailChunks, Heartbeat
from jobledger_service.core.write.row_families import OpenFamily, RowFamily, open_families
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction, WriteStore
from jobledger_service.features.limits.commands import GrantSlots, SetLimit
from jobledger_service.features.limits.rules import Limit
from jobledger_service.features.limits.store import LimitStore
from msgspec.structs import replace
from sqlalchemy import event

from tests.support.families import all_families
from tests.support.ledger import Ledger, create

pytestmark = pytest.mark.fast

LOCK_ORDER = ["jobs", "limits", "requests", "runs", "counts", "rollups", "failures", "ledger"]
"""Jobs, families by rank, what all replicas add to, and the counter row as the last."""
WRITTEN = re.compile(r"^(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)")
READ = re.compile(r"\bFROM (jobs|limits|requests|runs)\b")


class Statements:
    """The statements of the batches since it was made."""

    def __init__(self, ledger: Ledger) -> None:
        self._seen: list[str] = []
        event.listen(ledger.database.writer, "before_cursor_execute", self._keep)

    def _keep(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self._seen.append(statement)

    def written(self) -> list[str]:
        """Return the tables that were written to, in the order of the first time, as far as the order binds them."""
        tables = [found[1] for one in self._seen if (found := WRITTEN.match(one)) and found[1] in LOCK_ORDER]
        return list(dict.fromkeys(tables))

    def locked(self) -> list[str]:
        """Return the tables that were read before the first write, in the order of their last read."""
        read: list[str] = []
        for one in self._seen:
            if WRITTEN.match(one):
                break
            read += READ.findall(one)
        return list(reversed(dict.fromkeys(reversed(read))))


def claimed(ledger: Ledger, kind: str, limit: int = 1) -> list[Lease]:
    [[*chunks]], _ = ledger.executor.run([ClaimChunks("me", (kind,), limit, Claim("w", 10**9))])
    return [one.lease for one in chunks]


def limits(ledger: Ledger) -> list[Limit]:
    return LimitStore(ledger.database).page("me", None, 100)[0]


@pytest.mark.guarantee("3b.5")
def test_a_batch_locks_jobs_then_families_by_rank_and_the_counter_last(ledger: Ledger):
    once = NewJob(JobSpec("me", "fails", "f", b"", retry_policy=RetryPolicy(max_attempts=1)), [0])
    ledger.executor.run([create("old"), CreateJob(once, "caller"), SetLimit("me", LimitScope(kind="k"), 9)])
    [lease], [failing] = claimed(ledger, "k"), claimed(ledger, "f")
    statements = Statements(ledger)
    spec = JobSpec("me", "service", "jobledger.bulk", b"same")
    ledger.executor.run(
        [
            CreateJob(NewJob(spec, [0]), "caller"),
            SetLimit("me", LimitScope(label="a", value="b"), 1),
            replace(create("new"), request_id="once"),
            CompleteChunks("me", [(lease, WorkReport(), NO_RESULTS)]),
            FailChunks("me", [(failing, WorkReport(), Failure(WorkError("E"), 0.5))]),
        ]
    )
    assert statements.written() == LOCK_ORDER
    assert statements.locked() == ["requests", "jobs", "limits"], "requests are read without a lock, to name jobs"


def test_every_family_has_a_rank_of_its_own(ledger: Ledger):
    families = all_families(ledger.database)
    with WriteStore(ledger.database).transaction() as transaction:
        ranks = [family.rank for family in open_families(reversed(families), transaction, Undo())]
        assert all(one < next_ for one, next_ in pairwise(ranks))
        with pytest.raises(AssertionError, match="the same rank"):
            open_families([families[1], families[1]], transaction, Undo())


def test_a_batch_that_only_reports_progress_opens_no_family(ledger: Ledger):
    opened = list[OpenFamily]()

    def noted(open_family: OpenFamily) -> OpenFamily:
        def open_noted(transaction: Transaction, undo: Undo) -> RowFamily:
            opened.append(open_family)
            return open_family(transaction, undo)

        return open_noted

    families = all_families(ledger.database)
    ledger.executor.families = [noted(one) for one in families]
    ledger.executor.run([create("a")])
    [lease] = claimed(ledger, "k")
    opened.clear()
    report = WorkReport(ProgressReport(percent=1))
    ledger.executor.run([Heartbeat("me", [(lease, report)], lease_duration=10**9)])
    assert opened == []
    with_artifact = replace(report, artifacts={"one": Artifact("s3://bucket/one", size_bytes=1)})
    ledger.executor.run([Heartbeat("me", [(lease, with_artifact)], lease_duration=10**9)])
    assert {*opened} == {*families}, "artifacts count into the figures"
    opened.clear()
    ledger.executor.run([CompleteChunks("me", [(lease, WorkReport(), NO_RESULTS)])])
    assert {*opened} == {*families}


def test_what_a_refused_report_did_to_slots_is_undone(ledger: Ledger):
    once = RetryPolicy(max_attempts=1)
    held = NewJob(JobSpec("me", "held", "k", b"", retry_policy=once), [0])
    planned = NewJob(JobSpec("me", "planned", "p", b"", stages=(Stage("known"),)), [0])
    ledger.executor.run(
        [SetLimit("me", LimitScope(kind="k"), 1), *(CreateJob(new, "caller") for new in (held, planned))]
    )
    ledger.executor.run([create("waits")])
    [first], [second] = claimed(ledger, "k"), claimed(ledger, "p")
    failures = [
        (first, WorkReport(), Failure(WorkError("E", "it broke"), 0.5)),
        (second, WorkReport(), Failure(WorkError("E", "it broke", stage="unknown"), 0.5)),
    ]
    ([refused], granted), [commit] = ledger.executor.run([FailChunks("me", failures[1:]), GrantSlots(["me/waits"])])
    assert isinstance(refused.refusal, InvalidField)
    assert granted == (0, 1), "the job of the other report still holds the slot"
    assert not commit.due, "no slot came free"
    assert [(one.running, one.waiting) for one in limits(ledger)] == [(1, 1)]
    (answers, granted), [commit] = ledger.executor.run([FailChunks("me", failures), GrantSlots(["me/waits"])])
    assert [answer.status for answer in answers] == ["OK", "REFUSED"]
    assert granted == (1, 1)
    assert [(one.running, one.waiting) for one in limits(ledger)] == [(1, 0)]
