"""Events across owners are for admins; a key finds what was done by keys of one name."""

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_service_pb2 import ListEventsRequest

from tests.access.conftest import As, Keyed
from tests.support.errors import refused
from tests.support.keys import CALLER, KeyedApi

CANCELLED = ChangeType.CHANGE_TYPE_CANCEL_REQUESTED


async def cancelled(api: KeyedApi, **fields: object) -> set[str]:
    """Return the jobs that events of a filter cancelled."""
    request = ListEventsRequest(filter={"change_types": [CANCELLED], **fields}, page_size=500)
    return {event.job_id for event in (await api.jobs.ListEvents(request)).events}


@pytest.mark.guarantee("3b.8")
async def test_what_a_key_cancelled_is_found_by_its_owner_and_by_admins(
    keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str
):
    owners = [f"{name}{kind.rpartition('.')[2]}" for name in ("a", "b")]
    made = [await admin.make(CALLER, owner=owner) for owner in owners]
    first, second = (as_holder(keyed.replicas[0], one.token) for one in made)
    jobs = []
    for api in (first, second):
        jobs.append((await api.create(kind)).job_id)
        await api.cancel(jobs[-1])
    name = f"{made[0].api_key.name}/"
    assert await cancelled(first) == await cancelled(first, actors=[name]) == {jobs[0]}
    assert await cancelled(first, actors=[f"{name}{made[0].api_key.key_id}"]) == {jobs[0]}
    assert await cancelled(first, actors=[f"{name}{made[1].api_key.key_id}"]) == set()
    assert await cancelled(admin, owner=owners[1]) == {jobs[1]}
    assert await cancelled(admin, all_owners=True, kinds=[kind]) == set(jobs)
    for fields in ({"owner": owners[1]}, {"all_owners": True}):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
            await cancelled(first, **fields)
