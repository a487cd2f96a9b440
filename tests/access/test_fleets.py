"""Workers that serve many owners: they claim in turn, reach nothing else, and nobody stops them by flooding."""

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from grpc import StatusCode
from jobledger.v1.admin_service_pb2 import (
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
)
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkRelease,
    ClaimChunkRequest,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksRequest,
    HeartbeatRequest,
    LeaseReport,
    LeaseStop,
    ReleaseChunksRequest,
    StopCause,
    WatchLeasesRequest,
)

from tests.access.conftest import As, Keyed
from tests.support.api import fresh_kind
from tests.support.bounds import BOUND
from tests.support.errors import assert_entry_refused, invalid, refused
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.states import CANCEL_REQUESTED, COMPLETED, LEASE_LOST, OK, QUEUED, REFUSED, RUNNING

ALICE, BOB, CAROL = OWNERS = "alice-of-fleets", "bob-of-fleets", "carol-of-fleets"


@pytest.fixture
async def tenants(admin: KeyedApi, as_holder: As) -> dict[str, KeyedApi]:
    """Return the API of a caller and worker of each owner."""
    return {owner: as_holder(admin, (await admin.make(CALLER, WORKER, owner=owner)).token) for owner in OWNERS}


@pytest.fixture
async def fleet(admin: KeyedApi, as_holder: As) -> KeyedApi:
    """Return the API of a worker that serves all owners."""
    return as_holder(admin, (await admin.make(WORKER, owner="fleet", all_owners=True)).token)


async def serving(admin: KeyedApi, as_holder: As, *owners: str) -> KeyedApi:
    return as_holder(admin, (await admin.make(WORKER, owner="fleet", served_owners=owners)).token)


def owners_of(claimed: list[ClaimedChunk]) -> list[str]:
    return [one.owner for one in claimed]


async def jobs(tenants: dict[str, KeyedApi], kind: str, chunks: dict[str, int], **fields: object) -> dict[str, Job]:
    return {
        owner: await tenants[owner].create(kind, item_count=count, chunk_size=1, **fields)
        for owner, count in chunks.items()
    }


async def test_the_call_that_completes_the_last_other_chunk_claims_the_finalizer_of_an_owner_that_it_serves(
    tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    await jobs(tenants, kind, {ALICE: 1, BOB: 1}, finalizer={})
    claimed = await fleet.claim(kind, 9)
    assert sorted(owners_of(claimed)) == [ALICE, BOB]
    completions = [ChunkCompletion(lease_token=one.lease.token) for one in claimed]
    claim = ClaimChunksRequest(kinds=[kind], max_chunks=9, worker="w")
    request = CompleteChunksRequest(completions=completions, claim=claim)
    last = (await fleet.work.CompleteChunks(request)).claimed
    assert sorted(owners_of(last)) == [ALICE, BOB]
    assert all(one.chunk.finalizer for one in last)


@pytest.mark.guarantee("3c.6")
async def test_a_report_that_is_refused_for_one_owner_affects_no_chunk_of_another(
    tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    made = await jobs(tenants, kind, {ALICE: 2, BOB: 2})
    claimed = sorted(await fleet.claim(kind, 4), key=lambda one: (one.owner, one.chunk.index))
    full = {f"a{number}": {"uri": "s3://b/k"} for number in range(100)}
    await fleet.report(claimed[0], job_artifacts=full)
    reports = [
        LeaseReport(lease_token=one.lease.token, progress={"job_artifacts": {one.owner: {"uri": "s3://b/k"}}})
        for one in claimed
    ]
    beats = (await fleet.work.Heartbeat(HeartbeatRequest(reports=reports))).results
    assert [beat.status for beat in beats] == [REFUSED, REFUSED, OK, OK]
    completions = [ChunkCompletion(lease_token=one.lease_token, progress=one.progress) for one in reports]
    await jobs(tenants, kind, {CAROL: 1})
    claim = ClaimChunksRequest(kinds=[kind], max_chunks=4, worker="w")
    response = await fleet.work.CompleteChunks(CompleteChunksRequest(completions=completions, claim=claim))
    assert [result.status for result in response.results] == [REFUSED, REFUSED, OK, OK]
    assert owners_of(list(response.claimed)) == [CAROL]
    for result in (*beats[:2], *response.results[:2]):
        assert_entry_refused(result.error, "progress.job_artifacts")
    alice, bob = [await tenants[owner].get(made[owner].job_id) for owner in (ALICE, BOB)]
    assert (alice.state, len(alice.artifacts), alice.chunks_summary.processing) == (RUNNING, 100, 2)
    assert (bob.state, set(bob.artifacts)) == (COMPLETED, {BOB})


async def test_why_a_lease_is_lost_says_nothing_of_another_owners_chunk(
    tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    made = await jobs(tenants, kind, {ALICE: 1, BOB: 1})
    claimed = sorted(await fleet.claim(kind, 2), key=lambda one: one.owner)
    await tenants[ALICE].cancel(made[ALICE].job_id, reason="for alice alone")
    reports = [LeaseReport(lease_token=one.lease.token) for one in claimed]
    of_fleet = (await fleet.work.Heartbeat(HeartbeatRequest(reports=reports))).results
    assert [(one.status, one.stop.reason) for one in of_fleet] == [(CANCEL_REQUESTED, "for alice alone"), (OK, "")]
    of_bob = (await tenants[BOB].work.Heartbeat(HeartbeatRequest(reports=reports))).results
    assert [one.status for one in of_bob] == [LEASE_LOST, OK]
    assert of_bob[0].stop == LeaseStop(cause=StopCause.STOP_CAUSE_NOT_FOUND)


async def test_a_checkpoint_reaches_the_next_attempt_at_its_chunk_and_no_other_owner(
    tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    await jobs(tenants, kind, {ALICE: 1, BOB: 1}, job_id=f"same-{kind}")
    claimed = sorted(await fleet.claim(kind, 2), key=lambda one: one.owner)
    values = [{"of": "alice"}, {"of": "x" * 5_000}]
    reports = [
        LeaseReport(lease_token=one.lease.token, progress={"checkpoint": value})
        for one, value in zip(claimed, values, strict=True)
    ]
    beats = (await fleet.work.Heartbeat(HeartbeatRequest(reports=reports))).results
    assert [beat.status for beat in beats] == [OK, REFUSED]
    assert_entry_refused(beats[1].error, "progress.checkpoint")
    await fleet.release(*claimed)
    [of_alice], [of_bob] = [await tenants[owner].claim(kind) for owner in (ALICE, BOB)]
    assert (dict(of_alice.checkpoint), of_bob.HasField("checkpoint")) == ({"of": "alice"}, False)


@pytest.mark.guarantee("3b.9")
@pytest.mark.parametrize("named", [False, True])
async def test_owners_take_turns_whatever_they_have_waiting(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str, named: bool
):
    await jobs(tenants, kind, {ALICE: 300, BOB: 3, CAROL: 2})
    worker = await serving(admin, as_holder, *OWNERS) if named else fleet
    single = [owners_of(await worker.claim(kind))[0] for _ in range(3)]
    assert Counter(single) == dict.fromkeys(OWNERS, 1)
    assert Counter(owners_of(await worker.claim(kind, 3))) == dict.fromkeys(OWNERS, 1)
    assert Counter(owners_of(await worker.claim(kind, 10))) == {ALICE: 9, BOB: 1}
    assert owners_of(await worker.claim(kind, 10)) == [ALICE] * 10


@pytest.mark.parametrize("named", [False, True])
async def test_the_more_urgent_come_first_over_all_owners(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str, named: bool
):
    await jobs(tenants, kind, {ALICE: 3, BOB: 1}, priority=4)
    await jobs(tenants, kind, {CAROL: 4}, priority=9)
    await jobs(tenants, kind, {BOB: 1}, priority=10)
    worker = await serving(admin, as_holder, *OWNERS) if named else fleet
    claimed = owners_of(await worker.claim(kind, 7))
    assert claimed[:5] == [BOB, *[CAROL] * 4]
    assert Counter(claimed[5:]) == {ALICE: 1, BOB: 1}
    assert owners_of(await worker.claim(kind, 7)) == [ALICE] * 2


async def test_of_one_owner_the_oldest_of_all_kinds_comes_first(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi
):
    kinds = [fresh_kind() for _ in range(3)]
    some = await serving(admin, as_holder, ALICE, BOB)
    for owner in (ALICE, BOB):
        created = [await tenants[owner].create(kind, priority=7, item_count=2, chunk_size=1) for kind in kinds]
        for order in (kinds, kinds[::-1]):
            for worker in (fleet, some):
                request = ClaimChunksRequest(kinds=order, max_chunks=1, worker="w", owners=[owner])
                [claimed] = (await worker.work.ClaimChunks(request)).chunks
                assert claimed.job_id == created[0].job_id
                await worker.release(claimed)
    request = ClaimChunksRequest(kinds=kinds, max_chunks=2, worker="w")
    assert {claimed.kind for claimed in (await fleet.work.ClaimChunks(request)).chunks} == {kinds[0]}


@pytest.mark.guarantee("3b.9")
async def test_every_owner_has_a_turn_also_when_there_are_more_than_one_batch_looks_at(
    admin: KeyedApi, as_holder: As, fleet: KeyedApi, kind: str
):
    names = [f"many-{number:02}" for number in range(40)]
    for name in names:
        tenant = as_holder(admin, (await admin.make(CALLER, owner=name)).token)
        await tenant.create(kind, item_count=5, chunk_size=1)
    seen = Counter[str]()
    for _ in range(2):
        for count in (1, 9, 30):
            claimed = owners_of(await fleet.claim(kind, count))
            assert len(claimed) == count
            seen.update(claimed)
        assert max(seen.values()) - min(seen.values()) <= 1
    assert sorted(seen) == names
    assert set(seen.values()) == {2}


async def test_a_fleet_works_the_chunks_of_its_owners_to_their_end(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], kind: str
):
    made = await jobs(tenants, kind, {ALICE: 1, BOB: 1, CAROL: 1})
    worker = await serving(admin, as_holder, ALICE, BOB)
    claimed = await worker.claim(kind, 10)
    assert sorted(owners_of(claimed)) == [ALICE, BOB]
    assert {one.job_id for one in claimed} == {made[ALICE].job_id, made[BOB].job_id}
    for one in claimed:
        assert (await worker.report(one, percent=50)).status == OK
    of_alice, of_bob = sorted(claimed, key=lambda one: one.owner)
    assert [result.status for result in await worker.release(of_bob)] == [OK]
    assert [result.status for result in await worker.complete(of_alice)] == [OK]
    assert (await tenants[ALICE].get(made[ALICE].job_id)).state == COMPLETED
    [again] = await worker.claim(kind, 10)
    assert again.owner == BOB
    assert [result.status for result in await worker.fail(again, not_retryable=True)] == [OK]
    [theirs] = await tenants[CAROL].claim(kind)
    assert (await worker.report(theirs)).status == LEASE_LOST
    for ended in await worker.complete(theirs), await worker.fail(theirs), await worker.release(theirs):
        assert [result.status for result in ended] == [LEASE_LOST]
    assert [result.status for result in await tenants[CAROL].complete(theirs)] == [OK]
    assert [result.status for result in await tenants[ALICE].complete(of_alice)] == [OK], "it is its owner's chunk"


@pytest.mark.guarantee("3b.10")
async def test_all_else_of_an_owner_is_closed_to_a_fleet(tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str):
    made = (await jobs(tenants, kind, {ALICE: 1}))[ALICE]
    with refused(StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await fleet.get(made.job_id)
    with refused(StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await fleet.list_jobs()
    with refused(StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await fleet.admin.ListApiKeys(ListApiKeysRequest())


async def claim_one(api: KeyedApi, job_id: str, owner: str = "") -> ClaimedChunk:
    request = ClaimChunkRequest(job_id=job_id, chunk_index=0, worker="w", task_id="t", owner=owner)
    return (await api.work.ClaimChunk(request)).chunk


async def test_one_chunk_by_name_is_one_of_an_owner_that_the_key_serves(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    job_id = f"{kind}.by-name"
    for owner in OWNERS:
        await tenants[owner].create(kind, job_id=job_id)
    two = await serving(admin, as_holder, ALICE, BOB)
    of_bob = await claim_one(two, job_id, BOB)
    assert of_bob.owner == BOB
    assert (await claim_one(two, job_id, BOB)).lease == of_bob.lease, "the task has it"
    assert (await claim_one(fleet, job_id, ALICE)).owner == ALICE
    assert [(await tenants[owner].get(job_id)).state for owner in OWNERS] == [RUNNING, RUNNING, QUEUED]
    for api, owner in (two, CAROL), (tenants[ALICE], CAROL):
        with invalid("owner"):
            await claim_one(api, job_id, owner)
    with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await claim_one(fleet, job_id, "nobody-of-fleets")
    assert (await tenants[CAROL].get(job_id)).state == QUEUED
    assert [result.status for result in await two.complete(of_bob)] == [OK]


async def test_the_owner_of_a_chunk_by_name_may_be_left_out_where_the_key_names_one(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    job_id = f"{kind}.by-name"
    for owner in OWNERS:
        await tenants[owner].create(kind, job_id=job_id)
    with invalid("owner"):
        await claim_one(await serving(admin, as_holder, ALICE, BOB), job_id)
    with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await claim_one(fleet, job_id)
    assert (await claim_one(await serving(admin, as_holder, CAROL), job_id)).owner == CAROL
    others = as_holder(admin, (await admin.make(WORKER, owner=ALICE, served_owners=[BOB])).token)
    assert (await claim_one(others, job_id)).owner == BOB
    own = as_holder(admin, (await admin.make(WORKER, owner=ALICE, served_owners=[ALICE, BOB])).token)
    assert (await claim_one(own, job_id)).owner == ALICE


async def test_a_release_claims_chunks_of_the_owners_that_the_key_serves(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], kind: str
):
    two = await serving(admin, as_holder, ALICE, BOB)
    made = await jobs(tenants, kind, {ALICE: 1, CAROL: 1})
    [held] = await two.claim(kind)
    await jobs(tenants, kind, {BOB: 1})
    request = ReleaseChunksRequest(
        releases=[ChunkRelease(lease_token=held.lease.token, delay=timedelta(hours=1))],
        claim=ClaimChunksRequest(kinds=[kind], max_chunks=9, worker="w"),
    )
    response = await two.work.ReleaseChunks(request)
    assert ([result.status for result in response.results], owners_of(list(response.claimed))) == ([OK], [BOB])
    assert (await tenants[CAROL].get(made[CAROL].job_id)).state == QUEUED


async def test_a_claim_may_name_some_of_the_owners(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    made = await jobs(tenants, kind, {ALICE: 2, BOB: 2, CAROL: 2})
    assert owners_of(await fleet.claim(kind, 10, owners=[BOB])) == [BOB] * 2
    of_alice = ClaimChunksRequest(job_ids=[made[ALICE].job_id], owners=[ALICE], worker="w")
    assert owners_of(list((await fleet.work.ClaimChunks(of_alice)).chunks)) == [ALICE]
    with invalid("owners"):
        await fleet.work.ClaimChunks(ClaimChunksRequest(job_ids=[made[ALICE].job_id], worker="w"))
    some = await serving(admin, as_holder, ALICE, BOB)
    with invalid("owners[1]"):
        await some.claim(kind, owners=[ALICE, CAROL])
    with invalid("owners[0]"):
        await tenants[ALICE].claim(kind, owners=[BOB])
    assert owners_of(await tenants[ALICE].claim(kind, owners=[ALICE])) == [ALICE]


async def test_what_a_claim_may_name_is_bounded(admin: KeyedApi, as_holder: As, fleet: KeyedApi):
    with invalid("owners"):
        await fleet.claim("k", owners=[f"o{number}" for number in range(101)])
    with invalid("owners[0]"):
        await fleet.claim("k", owners=["no owner!"])
    many = await serving(admin, as_holder, *(f"o{number}" for number in range(100)))
    kinds = [f"k{number}" for number in range(21)]
    with invalid("kinds"):
        await many.work.ClaimChunks(ClaimChunksRequest(kinds=kinds, worker="w"))
    await many.work.ClaimChunks(ClaimChunksRequest(kinds=kinds[:20], worker="w"))


@pytest.mark.parametrize("named", [False, True])
async def test_a_waiting_claim_hears_of_work_of_each_of_its_owners(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str, named: bool
):
    worker = await serving(admin, as_holder, ALICE, BOB) if named else fleet
    for owner in ALICE, BOB:
        waiting = asyncio.ensure_future(worker.claim(kind, wait=timedelta(minutes=1)))
        await tenants[owner].create(kind)
        async with asyncio.timeout(BOUND):
            assert owners_of(await waiting) == [owner]


@pytest.mark.parametrize("named", [False, True])
async def test_the_stream_of_stops_names_jobs_of_all_its_owners(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str, named: bool
):
    made = await jobs(tenants, kind, {ALICE: 1, BOB: 1, CAROL: 1})
    worker = await serving(admin, as_holder, ALICE, BOB) if named else fleet
    claimed = await worker.claim(kind, 10)
    if named:
        await tenants[CAROL].claim(kind)
    stream = worker.work.WatchLeases(WatchLeasesRequest(worker="w", kinds=[kind]))
    async with asyncio.timeout(BOUND):
        assert (await stream.read()).check_all
        for owner in CAROL, ALICE, BOB:
            await tenants[owner].cancel(made[owner].job_id)
        stopped: list[str] = []
        while made[BOB].job_id not in stopped:
            stopped += (await stream.read()).job_ids
    stream.cancel()
    followed = [ALICE, BOB] if named else [CAROL, ALICE, BOB]
    assert stopped == [made[owner].job_id for owner in followed]
    for one in claimed:
        assert (await worker.report(one)).status == CANCEL_REQUESTED


async def test_a_revoked_key_ends_a_waiting_claim_of_its_fleet(admin: KeyedApi, as_holder: As, kind: str):
    made = await admin.make(WORKER, owner="fleet", all_owners=True)
    waiting = asyncio.ensure_future(as_holder(admin, made.token).claim(kind, wait=timedelta(minutes=1)))
    await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
    with refused(StatusCode.UNAUTHENTICATED, "API_KEY_REVOKED"):
        async with asyncio.timeout(BOUND):
            await waiting


@pytest.mark.guarantee("3b.10")
async def test_a_repeated_claim_answers_with_the_leases_of_the_owners_that_its_own_key_serves(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    await jobs(tenants, kind, {ALICE: 1, BOB: 1})
    request_id = fresh_kind()
    claimed = await fleet.claim(kind, 2, request_id=request_id)
    assert sorted(owners_of(claimed)) == [ALICE, BOB]
    own = as_holder(admin, (await admin.make(WORKER, owner="fleet")).token)
    some = await serving(admin, as_holder, BOB)
    assert sorted(owners_of(await fleet.claim(kind, 2, request_id=request_id))) == [ALICE, BOB]
    assert owners_of(await some.claim(kind, 2, request_id=request_id)) == [BOB]
    assert owners_of(await own.claim(kind, 2, request_id=request_id)) == []
    ending = CompleteChunksRequest(
        completions=[ChunkCompletion(lease_token=claimed[0].lease.token)],
        claim=ClaimChunksRequest(kinds=[kind], worker="w", request_id=request_id),
    )
    assert owners_of(list((await own.work.CompleteChunks(ending)).claimed)) == []


@pytest.mark.guarantee("3c.7")
async def test_a_claim_is_repeated_with_another_key_when_its_own_was_revoked(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], kind: str
):
    await jobs(tenants, kind, {ALICE: 2, BOB: 1})
    made = await admin.make(WORKER, owner="fleet", served_owners=[ALICE, BOB])
    request_id = fresh_kind()
    claimed = await as_holder(admin, made.token).claim(kind, 3, request_id=request_id)
    rotated = await admin.admin.RotateApiKey(RotateApiKeyRequest(key_id=made.api_key.key_id))
    await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
    new = as_holder(admin, rotated.token)
    again = await new.claim(kind, 3, request_id=request_id)
    assert [one.lease.token for one in again] == [one.lease.token for one in claimed]
    assert [result.status for result in await new.complete(*claimed)] == [OK] * 3


async def test_replicas_share_the_work_of_a_fleet(
    keyed: Keyed, as_holder: As, tenants: dict[str, KeyedApi], fleet: KeyedApi, kind: str
):
    await jobs(tenants, kind, {ALICE: 40, BOB: 5, CAROL: 5})
    workers = [as_holder(server, fleet.token) for server in keyed.replicas for _ in range(2)]

    async def drain(worker: KeyedApi) -> list[ClaimedChunk]:
        claimed: list[ClaimedChunk] = []
        while some := await worker.claim(kind, 3):
            claimed += some
        return claimed

    claimed = [one for some in await asyncio.gather(*map(drain, workers)) for one in some]
    assert Counter(owners_of(claimed)) == {ALICE: 40, BOB: 5, CAROL: 5}
    tokens = sorted(one.lease.token for one in claimed)
    assert all(first != second for first, second in pairwise(tokens))
