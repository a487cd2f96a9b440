"""The duty that grants free slots looks at a bounded number of limits, however many an owner has."""

from pathlib import Path
from typing import Any

import pytest
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.job import JobSpec, job_key
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.write.commands import CreateJob
from jobledger_service.features.limits.commands import SetLimit
from jobledger_service.features.limits.store import LimitStore
from jobledger_service.features.limits.tables import limits
from sqlalchemy import event, update

from tests.isolation.large_jobs import ALICE, BOB, large_ledger
from tests.support.databases import new_database


@pytest.mark.guarantee("3b.2")
def test_free_slots_are_found_in_turn_with_a_bounded_number_of_statements(store: str, tmp_path: Path):
    with large_ledger(new_database(store, tmp_path)) as ledger:
        for owner, scopes in ((ALICE, 7), (BOB, 1)):
            for scope in range(scopes):
                ledger.do(SetLimit(owner, LimitScope(kind=f"kind-{scope}"), 1))
                for number in range(3):  # the first gets the slot
                    spec = JobSpec(owner, f"{scope}-{number}", f"kind-{scope}", b"same")
                    ledger.do(CreateJob(NewJob(spec, [1]), "caller"))
        with ledger.database.write() as connection:
            connection.execute(update(limits).values(max_running=3))
        statements: list[str] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        found = LimitStore(ledger.database)
        event.listen(ledger.database.reader, "before_cursor_execute", count)
        steps, costs = [], []
        for _ in range(5):
            statements.clear()
            steps.append(found.free_slots(4))
            costs.append(sum(statement.startswith("SELECT") for statement in statements))
    waiting = [[job_key(ALICE, f"{scope}-{number}") for number in (1, 2)] for scope in range(7)]
    waiting.append([job_key(BOB, f"0-{number}") for number in (1, 2)])
    assert [set(step) for step in steps[:4]] == [{*waiting[n], *waiting[n + 1]} for n in (0, 2, 4, 6)]
    assert steps[4] == steps[0]
    assert max(costs) <= 2 + 4
