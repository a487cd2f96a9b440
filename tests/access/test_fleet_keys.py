"""Keys of workers that serve many owners: what they may serve, and what they say of it."""

import pytest
from grpc import StatusCode
from jobledger.v1.admin_service_pb2 import (
    CreateApiKeyRequest,
    ListApiKeysRequest,
    RotateApiKeyRequest,
)

from tests.support.api import fresh_kind
from tests.support.errors import invalid, refused
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi

ALICE, BOB = "alice-of-fleet-keys", "bob-of-fleet-keys"


async def test_keys_say_whom_they_serve_and_a_rotated_key_serves_the_same(admin: KeyedApi):
    made = await admin.make(WORKER, owner="fleet-of-two", served_owners=[BOB, ALICE, BOB])
    assert (list(made.api_key.served_owners), made.api_key.all_owners) == ([ALICE, BOB], False)
    of_all = await admin.make(WORKER, owner="fleet-of-all", all_owners=True)
    assert (list(of_all.api_key.served_owners), of_all.api_key.all_owners) == ([], True)
    for key in made.api_key, of_all.api_key:
        rotated = (await admin.admin.RotateApiKey(RotateApiKeyRequest(key_id=key.key_id))).api_key
        assert (rotated.served_owners, rotated.all_owners) == (key.served_owners, key.all_owners)
        listed = (await admin.admin.ListApiKeys(ListApiKeysRequest(owner=key.owner))).api_keys
        assert [(one.served_owners, one.all_owners) for one in listed] == [(key.served_owners, key.all_owners)] * 2


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("roles", {"roles": [CALLER], "all_owners": True}),
        ("roles", {"roles": [WORKER, ADMIN], "served_owners": [ALICE]}),
        ("all_owners", {"roles": [WORKER], "served_owners": [ALICE], "all_owners": True}),
        ("served_owners[1]", {"roles": [WORKER], "served_owners": [ALICE, "not an owner"]}),
        ("served_owners", {"roles": [WORKER], "served_owners": [f"o{number}" for number in range(101)]}),
    ],
)
async def test_what_a_key_may_serve_is_checked(admin: KeyedApi, field: str, fields: dict[str, object]):
    with invalid(field):
        await admin.admin.CreateApiKey(CreateApiKeyRequest(name="x", **fields))


async def test_a_retry_with_other_served_owners_is_another_request(admin: KeyedApi):
    fields = {"owner": "fleet", "request_id": fresh_kind()}
    made = await admin.make(WORKER, served_owners=[ALICE], **fields)
    assert (await admin.make(WORKER, served_owners=[ALICE], **fields)).api_key.key_id == made.api_key.key_id
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await admin.make(WORKER, served_owners=[BOB], **fields)
