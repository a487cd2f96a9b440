"""Two owners with jobs of one kind and one id: what one does to its job leaves the other's as it is."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from jobledger.v1.chunk_pb2 import HOLD_REASON_SCHEDULE
from jobledger.v1.job_service_pb2 import CreateJobRequest

from tests.access.conftest import As, Keyed
from tests.contract.test_preconditions import CALLS
from tests.support.errors import refused
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.states import RUNNING


@pytest.fixture
async def owners(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str) -> tuple[KeyedApi, KeyedApi]:
    """Return the APIs of callers and workers of two owners, at the first and at the last server."""
    name = f"o{kind.rpartition('.')[2]}"
    tokens = [(await admin.make(CALLER, WORKER, owner=owner)).token for owner in (name, f"{name}-2")]
    return as_holder(keyed.replicas[0], tokens[0]), as_holder(keyed.replicas[-1], tokens[1])


@pytest.mark.guarantee("3c.9")
async def test_a_time_that_one_removes_holds_the_others_job(owners: tuple[KeyedApi, KeyedApi], kind: str):
    alice, bob = owners
    time = datetime.now(UTC) + timedelta(hours=1)
    for api in owners:
        await api.create(kind, job_id=kind, schedule_time=time)
    assert not (await alice.update(kind, update_mask={"paths": ["schedule_time"]})).holds
    assert await bob.claim(kind) == []
    assert len(await alice.claim(kind)) == 1
    assert (await alice.get(kind)).state == RUNNING
    held = await bob.get(kind)
    assert ([hold.reason for hold in held.holds], held.revision) == ([HOLD_REASON_SCHEDULE], 1)


@pytest.mark.guarantee("3b.8")
@pytest.mark.parametrize("method", CALLS)
async def test_the_uid_of_anothers_job_is_as_good_as_none(owners: tuple[KeyedApi, KeyedApi], kind: str, method: str):
    alice, _ = owners
    mine, theirs = [await api.create(kind, job_id=kind) for api in owners]
    for job_id in (kind, f"{kind}-none"):
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await CALLS[method](alice, job_id, theirs.uid)
    for api, job in zip(owners, (mine, theirs), strict=True):
        shown = await api.get(kind, uid=job.uid)
        assert (shown.uid, shown.etag, shown.revision) == (job.uid, job.etag, 1)


@pytest.mark.guarantee("3b.8")
async def test_a_key_that_one_keeps_for_a_day_is_free_for_the_other(owners: tuple[KeyedApi, KeyedApi], kind: str):
    alice, bob = owners
    request = CreateJobRequest(kind=kind, unique_key="nightly", unique_window=timedelta(days=1))
    kept = await alice.jobs.CreateJob(request)
    await alice.cancel(kept.job.job_id, force=True)
    other = await bob.jobs.CreateJob(request)
    assert (other.created, other.job.owner) == (True, f"{kept.job.owner}-2")
    again = await alice.jobs.CreateJob(request)
    assert (again.created, again.job.job_id) == (False, kept.job.job_id)


@pytest.mark.guarantee("3b.8")
async def test_a_claim_of_one_leaves_the_others_chunks_claimable(owners: tuple[KeyedApi, KeyedApi], kind: str):
    alice, bob = owners
    for api in owners:
        await api.create(kind, job_id=kind, item_count=3, chunk_size=1)
    assert len(await alice.claim(kind, 2)) == 2
    shown = [[chunk.index for chunk in (await api.list_chunks(kind, claimable=True)).chunks] for api in (alice, bob)]
    assert shown == [[2], [0, 1, 2]]
