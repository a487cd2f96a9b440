"""What is due is done in steps in which owners take turns: an owner with very many due rows holds up nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jobledger_service.core.duties.due_rows import holds, leases
from jobledger_service.features.retention.feature import expired_jobs

from tests.isolation.kernels import HOUR, Ledger, opened
from tests.support.databases import new_database

ALICE, BOB = "alice", "bob"
MANY = 1_200
"""The due rows of alice: more than two steps of the duties have."""


@pytest.fixture
async def ledger(store: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(new_database(store, tmp_path)) as one:
        yield one


def assert_bob_has_a_turn(steps: list[set[str]]) -> None:
    """Hold that alice goes first, then bob, and then alice again until nothing of hers is left."""
    turn = steps.index({BOB})
    assert 1 <= turn <= 2
    assert len(steps) >= turn + 2
    assert all(owners == {ALICE} for number, owners in enumerate(steps) if number != turn)


@pytest.mark.guarantee("3b.3")
async def test_schedules_of_others_are_lifted_between_those_of_one_owner(ledger: Ledger):
    at = ledger.clock[0] + HOUR
    await ledger.create(ALICE, MANY, schedule_time=at)
    await ledger.create(BOB, 1, schedule_time=at + 1)
    assert_bob_has_a_turn(await ledger.owners_done(holds(ledger.kernel).once))


async def test_backoffs_of_others_are_lifted_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY), (BOB, 1)):
        await ledger.create(owner, 1, chunks=count)
        await ledger.fail(owner, await ledger.claim(owner, count))
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(holds(ledger.kernel).once))


@pytest.mark.guarantee("3b.3")
async def test_leases_of_others_expire_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY), (BOB, 1)):
        await ledger.create(owner, 1, chunks=count)
        assert len(await ledger.claim(owner, count)) == count
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(leases(ledger.kernel, 0).once))


@pytest.mark.guarantee("3b.3")
async def test_runs_of_others_time_out_between_large_ones_of_one_owner(ledger: Ledger):
    for owner, count, chunks in ((ALICE, 12, 600), (BOB, 1, 1)):
        await ledger.create(owner, count, chunks=chunks, run_timeout=HOUR)
        for _ in range(count):
            assert len(await ledger.claim(owner, chunks, 9 * HOUR)) == chunks
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(leases(ledger.kernel, 0).once))


async def test_jobs_of_others_are_deleted_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY // 20), (BOB, 1)):
        await ledger.create(owner, count, expire_time=ledger.clock[0] + HOUR)
        await ledger.cancel(owner, count)
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(expired_jobs(ledger.kernel).do_step))
