"""Who pauses kinds, and whom that concerns: admins, and nobody but their own owner."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ClaimChunksRequest

from tests.access.conftest import As
from tests.support.api import fresh_kind
from tests.support.errors import refused
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.pauses import pause, paused_kinds, resume

ALICE, BOB, CAROL = OWNERS = "alice-who-pauses", "bob-who-pauses", "carol-who-pauses"


@pytest.fixture
async def tenants(admin: KeyedApi, as_holder: As) -> dict[str, KeyedApi]:
    """Return the API of an admin of each owner."""
    made = {owner: await admin.make(ADMIN, owner=owner, name=f"{owner}'s") for owner in OWNERS}
    return {owner: as_holder(admin, key.token) for owner, key in made.items()}


async def test_only_admins_pause_and_resume_and_the_list_names_them(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], kind: str
):
    caller = as_holder(admin, (await admin.make(CALLER, WORKER, owner=ALICE)).token)
    for call in pause, resume:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
            await call(caller, kind)
    await pause(tenants[ALICE], kind)
    [listed] = await paused_kinds(caller)
    name, _, key_id = listed.paused_by.partition("/")
    assert (listed.kind, name, len(key_id)) == (kind, f"{ALICE}'s", 12)
    assert await paused_kinds(tenants[BOB]) == []
    assert not await resume(tenants[BOB], kind)
    assert await resume(tenants[ALICE], kind)


@pytest.mark.guarantee("3c.14")
@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
async def test_a_pause_concerns_its_owner_alone_and_takes_no_turn_of_a_fleet(
    admin: KeyedApi, as_holder: As, tenants: dict[str, KeyedApi], kind: str, named: bool
):
    serves: dict[str, object] = {"served_owners": OWNERS} if named else {"all_owners": True}
    fleet = as_holder(admin, (await admin.make(WORKER, owner="fleet", **serves)).token)
    other = fresh_kind()
    for owner, priority in (ALICE, 9), (BOB, 5), (CAROL, 4):
        await tenants[owner].create(kind, item_count=20, chunk_size=1, priority=priority)
    await tenants[ALICE].create(other, priority=0)
    await pause(tenants[ALICE], kind)
    assert [one.owner for one in await fleet.claim(kind, 1)] == [BOB]
    assert [one.owner for one in await fleet.claim(kind, 20)] == [BOB] * 19 + [CAROL]
    request = ClaimChunksRequest(kinds=[kind, other], max_chunks=99, worker="w")
    assert [one.owner for one in (await fleet.work.ClaimChunks(request)).chunks] == [CAROL] * 19 + [ALICE]
    waiting = asyncio.create_task(fleet.claim(kind, 99, wait=timedelta(minutes=5)))
    assert await fleet.claim(kind) == []
    await resume(tenants[ALICE], kind)
    assert [one.owner for one in await waiting] == [ALICE] * 20


async def test_an_owner_has_at_most_a_thousand_paused_kinds(tenants: dict[str, KeyedApi], kind: str):
    carol, bob = tenants[CAROL], tenants[BOB]
    await asyncio.gather(*(pause(carol, f"{kind}.k{n}") for n in range(1_000)))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_PAUSED_KINDS"):
        await pause(carol, kind)
    await pause(carol, f"{kind}.k7", "another reason")
    await pause(bob, kind)
    await resume(carol, f"{kind}.k7")
    await pause(carol, kind)
    assert len(await paused_kinds(carol, page_size=500)) == 1_000
