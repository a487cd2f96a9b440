"""An etag of a job that 0.1.0 stored, whose row does not say which revision it names."""

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import jobs
from jobledger_service.core.model.job import job_key
from msgspec import msgpack
from sqlalchemy import select, update

from tests.isolation.large_jobs import ALICE, BOB, LargeLedger


@pytest.fixture
def ledger(database: Database) -> LargeLedger:
    return LargeLedger(database)


def store_as_before(ledger: LargeLedger, owner: str) -> None:
    """Leave out of a job's row what 0.1.0 did not store."""
    row = jobs.c.job_key == job_key(owner, "j")
    with ledger.database.write() as connection:
        body = msgpack.decode(connection.scalar(select(jobs.c.current).where(row)))
        connection.execute(update(jobs).where(row).values(current=msgpack.encode(body[:-2])))


def test_it_names_the_revision_until_the_next_change_and_then_stays_through_progress(ledger: LargeLedger):
    for owner in (ALICE, BOB):
        ledger.create("j", [1] * 3, owner)
    ledger.claim("j", [0])
    stayed = ledger.job("j", BOB)
    store_as_before(ledger, ALICE)
    old = ledger.job("j")
    assert (old.etag_revision, old.etag.split("-")[1:]) == (0, [f"{old.revision:x}", f"{old.update_time:x}"])
    etags = [old.etag]
    for index in (1, 2):
        ledger.now += 1
        ledger.claim("j", [index])
        etags.append(ledger.job("j").etag)
    assert etags[0] != etags[1] == etags[2]
    assert ledger.job("j", BOB).etag == stayed.etag
