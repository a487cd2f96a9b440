"""What a quota costs a batch: a number of statements that does not grow with its commands."""

import pytest
from jobledger_service.core.database.rows.quotas import Quota
from jobledger_service.core.model.bounds.quotas import Bounds
from jobledger_service.core.model.refusals.limit_errors import QuotaExceeded
from jobledger_service.features.quotas.store import SqlQuotaStore
from sqlalchemy import event

from tests.support.ledger import Ledger, create

pytestmark = pytest.mark.fast


def statements(ledger: Ledger, *job_ids: str) -> tuple[int, int]:
    """Create jobs in one batch; return how many statements it took, and how many of these read quotas or counts."""
    seen: list[str] = []

    def keep(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(ledger.database.writer, "before_cursor_execute", keep)
    outcomes, _ = ledger.executor.run([create(job_id) for job_id in job_ids])
    event.remove(ledger.database.writer, "before_cursor_execute", keep)
    assert not [one for one in outcomes if isinstance(one, Exception)]
    return len(seen), sum("FROM quotas" in one or "FROM counts" in one for one in seen)


@pytest.mark.guarantee("3b.2")
def test_a_batch_has_as_many_statements_with_one_job_as_with_a_hundred(ledger: Ledger):
    statements(ledger, "first")
    free, free_many = (statements(ledger, *(f"free{n}" for n in some)) for some in ([0], range(1, 101)))
    SqlQuotaStore(ledger.database).put(Quota("me", Bounds(max_unfinished_jobs=203), "", "admin", 1))
    bounded, many = (statements(ledger, *(f"bounded{n}" for n in some)) for some in ([0], range(1, 101)))
    assert (free[1], free_many[1], bounded[1], many[1]) == (1, 1, 2, 2)
    assert (bounded[0], many[0]) == (free[0] + 1, free_many[0] + 1)
    [outcome], _ = ledger.executor.run([create("beyond")])
    assert isinstance(outcome, QuotaExceeded)


def test_only_the_watches_of_an_owner_are_bounded_and_its_jobs_are_not_counted(ledger: Ledger):
    SqlQuotaStore(ledger.database).put(Quota("me", Bounds(max_watches=1), "", "admin", 1))
    assert statements(ledger, "first")[1] == 1
