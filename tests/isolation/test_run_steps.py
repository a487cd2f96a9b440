"""A step of a bulk run is bounded by the rows that it changes, whatever these are."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jobledger.v1.bulk_pb2 import DeleteJobsRequest
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.kernel import Turn
from jobledger_service.core.model.job import job_key
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.core.model.work import Claim
from jobledger_service.core.read.job_reads import NO_BOUND
from jobledger_service.core.write.commands import ClaimChunks
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.features.bulk.duty import BulkRuns
from jobledger_service.features.bulk.requests import parse_request, run
from jobledger_service.transport.identity import Caller, Role

from tests.isolation.kernels import HOUR, Ledger, opened
from tests.support.databases import new_database

ALICE, BOB = "alice", "bob"
CHUNKS, ATTEMPTS = 60, 15
"""Of a job: two such jobs have room in a batch with their earlier attempts, three have not."""


@pytest.fixture
async def ledger(store: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(new_database(store, tmp_path)) as one:
        yield one


async def create_with_attempts(ledger: Ledger, owner: str, count: int) -> list[str]:
    """Create jobs whose chunks all failed and are in work again, and return their keys."""
    await ledger.create(owner, count, chunks=CHUNKS, tries=2 * ATTEMPTS)
    for _ in range(ATTEMPTS - 1):
        await ledger.fail(owner, await ledger.claim(owner, count * CHUNKS), delay=0)
    assert len(await ledger.claim(owner, count * CHUNKS)) == count * CHUNKS
    return [job_key(owner, f"j{number}") for number in range(count)]


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize("named", [True, False])
async def test_a_step_of_a_bulk_deletion_counts_the_attempts_that_go_with_the_jobs(ledger: Ledger, named: bool):
    keys = await create_with_attempts(ledger, ALICE, 3)
    others = await create_with_attempts(ledger, BOB, 1)
    ledger.clock[0] += 1
    meant: dict[str, Any] = {"job_ids": ["j0", "j1", "j2"]} if named else {"filter": {"kinds": ["k"]}}
    caller = Caller(owner=ALICE, name="caller", roles=frozenset({Role.CALLER}))
    order = parse_request(DeleteJobsRequest(force=True, **meant), caller)
    kernel = ledger.kernel
    await kernel.committer.submit(run(order, caller, None, kernel.new_id))
    [claimed] = await kernel.committer.submit(ClaimChunks(ALICE, (BULK,), 1, Claim("jobledger", HOUR)))
    ledger.commits.clear()
    await BulkRuns(kernel).work(claimed, Turn((ALICE, BULK)))
    deletions = [[key for key in commit.touched if key in keys] for commit in ledger.commits]
    assert [len(some) for some in deletions if some] == [1, 2]
    assert [key for some in deletions for key in some] == keys
    assert max(commit.rows for commit in ledger.commits) <= MAX_BATCH_ROWS
    left = kernel.store.read_jobs([*keys, *others], View.BASIC, NO_BOUND)
    assert [*left.jobs] == others
