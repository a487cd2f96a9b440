"""A connection that is lost while a command is decided fails the transaction, and not the command or its rows."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from jobledger_service.core.duties.due_rows import DueRows
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import job_key
from jobledger_service.core.model.refusals.errors import StoreUnavailable
from jobledger_service.core.write.commands import ExpireLeases
from jobledger_service.core.write.working_set import WorkingSet

from tests.isolation.kernels import HOUR, Ledger, opened
from tests.support.databases import new_database
from tests.support.postgres import connect

END_TRANSACTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction'
"""


@pytest.fixture
def database(tmp_path: Path) -> str:
    return new_database("postgresql", tmp_path)


@pytest.fixture
async def ledger(database: str) -> AsyncIterator[Ledger]:
    async with opened(database) as kernel:
        yield kernel


@pytest.mark.one_store("SQLite has no connection that is lost")
@pytest.mark.guarantee("3b.4", "3b.5")
async def test_a_connection_that_is_lost_while_a_duty_is_decided_sets_no_row_aside(database: str, ledger: Ledger):
    await ledger.create("alice", 1)
    assert len(await ledger.claim("alice", 1)) == 1
    ledger.clock[0] += 2 * HOUR
    losses: list[object] = []

    class ExpireOnce(ExpireLeases, frozen=True):
        """Loses its connection while it is decided, before it reads what was not loaded; the first time only."""

        def decide(self, work: WorkingSet) -> Any:
            if not losses:
                with connect(database) as connection:
                    losses.extend(connection.execute(END_TRANSACTIONS).fetchall())
                work.is_paused(work.last(job_key("alice", "j0")))
            return super().decide(work)

    def read(now: int, limit: int, owners: Sequence[str]) -> Sequence[ChunkKey]:
        return ledger.kernel.store.expired_leases(now, limit, owners)

    kernel = ledger.kernel
    due = DueRows(kernel, "leases", read, lambda keys: ExpireOnce([(key, 0.5) for key in keys]))
    with pytest.raises(StoreUnavailable):
        await due.do_step()
    assert losses == [(True,)]
    assert not kernel.unreadable.is_recent("leases", str((job_key("alice", "j0"), 0)))
    ledger.commits.clear()
    await due.do_step()
    assert [list(commit.touched) for commit in ledger.commits] == [[job_key("alice", "j0")]]
