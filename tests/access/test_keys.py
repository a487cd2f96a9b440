"""The life of a key: made, listed, used, rotated, revoked, expired; its secret is told once and kept nowhere."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.admin_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
)
from sqlalchemy import make_url

from tests.access.conftest import As, Keyed
from tests.support.api import fresh_kind
from tests.support.bounds import BOUND
from tests.support.errors import invalid, refused
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.pages import pages_of
from tests.support.postgres import connect as connect_to_database
from tests.support.server import Server

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def later(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return moment


async def keys_of(admin: KeyedApi, owner: str, **fields: object) -> list[ApiKey]:
    return list((await admin.admin.ListApiKeys(ListApiKeysRequest(owner=owner, **fields))).api_keys)


async def works(api: KeyedApi) -> bool:
    await api.list_jobs(page_size=1)
    return True


async def test_a_key_is_what_was_asked_for_and_is_listed_without_its_token(admin: KeyedApi):
    owner, ends = fresh_kind()[-40:], later(3_600)
    made = await admin.make(WORKER, CALLER, owner=owner, name="a crawler", expire_time=ends)
    key = made.api_key
    assert (key.owner, key.name, list(key.roles)) == (owner, "a crawler", [CALLER, WORKER])
    assert (key.expire_time.seconds, key.HasField("revoke_time"), key.HasField("last_used_time")) == (
        ends.seconds, False, False,
    )  # fmt: skip
    assert made.token.startswith(f"jl_{key.key_id}_")
    assert len(made.token.rpartition("_")[2]) * 4 == 256
    assert await keys_of(admin, owner) == [key]


async def test_a_key_without_an_owner_is_of_its_makers(admin: KeyedApi):
    assert (await admin.make(CALLER)).api_key.owner == "default"


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"roles": [CALLER]}, ["name"]),
        ({"name": "x" * 129, "roles": [CALLER]}, ["name"]),
        ({"name": "a/b", "roles": [CALLER]}, ["name"]),
        ({"name": "a\nb", "roles": [CALLER]}, ["name"]),
        ({"name": "x"}, ["roles"]),
        ({"name": "x", "roles": [0, 9]}, ["roles[0]", "roles[1]"]),
        ({"name": "x", "roles": [CALLER], "owner": "a/b"}, ["owner"]),
        ({"name": "x", "roles": [CALLER], "owner": "x" * 65}, ["owner"]),
        ({"name": "x", "roles": [CALLER], "expire_time": Timestamp(seconds=1)}, ["expire_time"]),
    ],
)
async def test_a_key_that_breaks_rules_is_not_made(admin: KeyedApi, fields: dict, named: list[str]):
    with invalid(*named):
        await admin.admin.CreateApiKey(CreateApiKeyRequest(**fields))


async def test_what_names_no_key_is_refused(admin: KeyedApi):
    for call, form in (
        (admin.admin.RevokeApiKey, RevokeApiKeyRequest),
        (admin.admin.RotateApiKey, RotateApiKeyRequest),
    ):
        with invalid("key_id"):
            await call(form(key_id=admin.token))
        with refused(grpc.StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND") as result:
            await call(form(key_id="0" * 12))
        assert result.metadata == {"key_id": "0" * 12}


async def test_a_key_works_on_every_replica_as_soon_as_it_is_made_and_on_none_when_it_is_revoked(
    keyed: Keyed, admin: KeyedApi, as_holder: As
):
    made = await admin.make(CALLER)
    apis = [as_holder(server, made.token) for server in keyed.replicas]
    assert all([await works(api) for api in apis])
    revoked = (await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))).api_key
    assert revoked.HasField("revoke_time")
    with refused(UNAUTHENTICATED, "API_KEY_REVOKED") as result:
        await works(apis[0])
    assert result.metadata == {"key_id": made.api_key.key_id}
    async with asyncio.timeout(BOUND):
        with refused(UNAUTHENTICATED, "API_KEY_REVOKED"):
            while await works(apis[-1]):
                pass
    with refused(UNAUTHENTICATED, "API_KEY_REVOKED"):
        await works(apis[-1])
    again = (await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))).api_key
    assert again.revoke_time == revoked.revoke_time


async def short_lived(admin: KeyedApi) -> CreateApiKeyResponse:
    """Make a key that soon expires, but not before a slow machine has come to make it."""
    for seconds in (0.3, 10):
        with suppress(grpc.aio.AioRpcError):
            return await admin.make(CALLER, expire_time=later(seconds))
    return await admin.make(CALLER, expire_time=later(BOUND))


async def test_an_expired_key_is_refused(keyed: Keyed, admin: KeyedApi, as_holder: As):
    made = await short_lived(admin)
    api = as_holder(keyed.replicas[-1], made.token)
    with refused(UNAUTHENTICATED, "API_KEY_EXPIRED"):
        while await works(api):
            pass
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "API_KEY_ENDED"):
        await admin.admin.RotateApiKey(RotateApiKeyRequest(key_id=made.api_key.key_id))


async def test_a_rotated_key_works_for_its_grace_period_beside_the_new_one(
    keyed: Keyed, admin: KeyedApi, as_holder: As
):
    owner = fresh_kind()[-40:]
    old = await admin.make(CALLER, WORKER, owner=owner, name="rotating", expire_time=later(1_000))
    new = await admin.admin.RotateApiKey(
        RotateApiKeyRequest(key_id=old.api_key.key_id, grace_period=timedelta(hours=1))
    )
    assert new.replaced.expire_time == old.api_key.expire_time  # which comes before the grace period ends
    assert (new.api_key.owner, new.api_key.name, list(new.api_key.roles)) == (owner, "rotating", [CALLER, WORKER])
    life = new.api_key.expire_time.seconds - new.api_key.create_time.seconds
    assert life == pytest.approx(1_000, abs=2)
    assert all([await works(as_holder(keyed.replicas[-1], token)) for token in (old.token, new.token)])

    last = await admin.admin.RotateApiKey(RotateApiKeyRequest(key_id=new.api_key.key_id, grace_period=timedelta(0)))
    with refused(UNAUTHENTICATED, "API_KEY_EXPIRED"):
        await works(as_holder(keyed.replicas[0], new.token))
    assert await works(as_holder(keyed.replicas[0], last.token))
    ids = [key.key_id for key in await keys_of(admin, owner)]
    assert ids == [old.api_key.key_id, last.api_key.key_id]
    assert len(await keys_of(admin, owner, show_ended=True)) == 3


async def test_a_key_that_never_expires_has_a_day_when_it_is_rotated(admin: KeyedApi):
    old = (await admin.make(CALLER)).api_key
    new = await admin.admin.RotateApiKey(RotateApiKeyRequest(key_id=old.key_id))
    assert new.replaced.expire_time.seconds - new.api_key.create_time.seconds == 86_400
    assert not new.api_key.HasField("expire_time")


async def test_keys_come_in_pages(admin: KeyedApi):
    owner = fresh_kind()[-40:]
    made = [(await admin.make(CALLER, owner=owner)).api_key.key_id for _ in range(5)]
    request = ListApiKeysRequest(owner=owner, page_size=2)
    pages = [[key.key_id for key in page.api_keys] async for page in pages_of(admin.admin.ListApiKeys, request)]
    assert max(map(len, pages)) <= 2
    assert [key_id for page in pages for key_id in page] == made
    request = ListApiKeysRequest(page_size=2, page_token=request.page_token)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await admin.admin.ListApiKeys(request)


async def test_many_new_keys_at_once_all_work_everywhere(keyed: Keyed, admin: KeyedApi, as_holder: As):
    made = await asyncio.gather(*(admin.make(CALLER) for _ in range(20)))
    apis = [as_holder(server, one.token) for one in made for server in keyed.replicas]
    assert all(await asyncio.gather(*(works(api) for api in apis)))


async def test_the_database_has_no_secret(keyed: Keyed, admin: KeyedApi, store: str):
    secret = (await admin.make(ADMIN)).token.rpartition("_")[2]
    database = keyed.replicas[0].database
    if store == "sqlite":
        file = Path(make_url(database).database or "")
        kept = b"".join(one.read_bytes() for one in file.parent.glob(f"{file.name}*"))
    else:
        with connect_to_database(database) as connection:
            kept = repr(connection.execute("SELECT * FROM api_keys").fetchall()).encode()
    assert secret.encode() not in kept
    assert bytes.fromhex(secret) not in kept
    assert all(secret not in server.log.read_text() for server in keyed.replicas)


async def test_a_server_without_keys_makes_none(server: Server, as_holder: As):
    api = as_holder(server, "")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "AUTH_DISABLED"):
        await api.make(ADMIN)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "AUTH_DISABLED"):
        await api.admin.ListApiKeys(ListApiKeysRequest())


async def test_a_repeated_request_answers_with_the_same_key_and_no_token(admin: KeyedApi, as_holder: As, keyed: Keyed):
    owner = fresh_kind()[-40:]
    request = CreateApiKeyRequest(name="ci", roles=[CALLER], owner=owner, request_id=uuid4().hex)
    answers = await asyncio.gather(*(admin.admin.CreateApiKey(request) for _ in range(5)))
    [token] = [one.token for one in answers if one.token]
    assert len({one.api_key.key_id for one in answers}) == 1
    request.expire_time.CopyFrom(later(3_600))
    again = await admin.admin.CreateApiKey(request)
    assert (again.api_key, again.token) == (answers[0].api_key, "")
    assert len(await keys_of(admin, owner, show_ended=True)) == 1
    assert await works(as_holder(keyed.replicas[-1], token))
    for change in ({"name": "other"}, {"owner": "other"}, {"roles": [WORKER]}):
        other = CreateApiKeyRequest(**{"name": "ci", "roles": [CALLER], "owner": owner} | change)
        other.request_id = request.request_id
        with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED") as result:
            await admin.admin.CreateApiKey(other)
        assert result.metadata["key_id"] == again.api_key.key_id
    with invalid("request_id"):
        await admin.admin.CreateApiKey(CreateApiKeyRequest(name="ci", roles=[CALLER], request_id="x" * 129))
    request.ClearField("request_id")
    assert (await admin.admin.CreateApiKey(request)).token
