"""An owner's admin runs its own owner, below what operators set, and reaches nothing of another."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from jobledger.v1.admin_service_pb2 import (
    DeleteQuotaRequest,
    GetQuotaRequest,
    GetUsageRequest,
    ListApiKeysRequest,
    ListQuotasRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
    SetQuotaRequest,
)
from jobledger.v1.limit_scope_pb2 import LimitScope
from jobledger.v1.limit_service_pb2 import DeleteLimitRequest, Limit, ListLimitsRequest, SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger_client import JobClient, LimitCeilingError, Role, for_kind
from jobledger_client.cli._main import run as run_client
from jobledger_service.cli.keys import cli
from jobledger_service.core.database.clock import clock_of
from jobledger_service.core.database.engines import open_database
from jobledger_service.features.access.api import MAX_KEYS
from jobledger_service.features.access.rules import ApiKey
from jobledger_service.features.access.store import SqlKeyStore
from typer.testing import CliRunner

from tests.access.conftest import SETTINGS, As, Keyed
from tests.conftest import QUICK
from tests.imports.test_import import past, send
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.keys import ADMIN, CALLER, OWNER_ADMIN, WORKER, KeyedApi, first_key
from tests.support.limits import each_scope, kind_scope, label_scope
from tests.support.pauses import pause, paused_kinds, resume
from tests.support.server import Server
from tests.support.states import COMPLETED

DENIED, MISSING = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"), (grpc.StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
CEILING = (grpc.StatusCode.FAILED_PRECONDITION, "LIMIT_CEILING")


@pytest.fixture
async def lead(keyed: Keyed, admin: KeyedApi, as_holder: As, owner: str) -> KeyedApi:
    """Return the API of the owner's admin."""
    return as_holder(keyed.replicas[0], (await admin.make(OWNER_ADMIN, owner=owner, name="lead")).token)


@pytest.fixture
def rival_owner(owner: str) -> str:
    return f"{owner}.rival"


@pytest.fixture
async def rival(keyed: Keyed, admin: KeyedApi, as_holder: As, rival_owner: str) -> KeyedApi:
    """Return the API of another owner's admin."""
    return as_holder(keyed.replicas[-1], (await admin.make(OWNER_ADMIN, owner=rival_owner, name="rival")).token)


async def listed(api: KeyedApi, owner: str = "") -> list[str]:
    """Return the ids of the keys that a key sees."""
    response = await api.admin.ListApiKeys(ListApiKeysRequest(owner=owner, page_size=500))
    return [key.key_id for key in response.api_keys]


def key_id_of(api: KeyedApi) -> str:
    return api.token.split("_")[1]


@pytest.mark.guarantee("3b.8")
async def test_an_owners_admin_manages_the_keys_of_its_owner_alone(
    lead: KeyedApi, rival: KeyedApi, admin: KeyedApi, as_holder: As, owner: str, rival_owner: str, kind: str
):
    made = await lead.make(CALLER, WORKER, request_id="once")
    assert (made.api_key.owner, list(made.api_key.roles)) == (owner, [CALLER, WORKER])
    assert (await lead.make(CALLER, WORKER, request_id="once")).api_key.key_id == made.api_key.key_id
    assert (await rival.make(CALLER, request_id="once")).api_key.owner == rival_owner
    second_lead = await lead.make(OWNER_ADMIN, owner=owner)
    job = await as_holder(lead, made.token).create(kind)
    rotated = await lead.admin.RotateApiKey(RotateApiKeyRequest(key_id=made.api_key.key_id))
    assert (await as_holder(lead, rotated.token).get(job.job_id)).owner == owner
    mine = [key_id_of(lead), made.api_key.key_id, second_lead.api_key.key_id, rotated.api_key.key_id]
    assert sorted(await listed(lead)) == sorted(await listed(lead, owner)) == sorted(mine)
    assert not set(await listed(rival)) & set(mine)
    for request in RevokeApiKeyRequest, RotateApiKeyRequest:
        call = getattr(rival.admin, request.__name__.removesuffix("Request"))
        for key_id in mine[0], "0123456789ab":
            with refused(*MISSING) as refusal:
                await call(request(key_id=key_id))
            assert refusal.metadata == {"key_id": key_id}, "another owner's key looks like one that does not exist"
    for foreign in owner, "nobody-at-all":
        with refused(*DENIED):
            await rival.make(CALLER, owner=foreign)
        with refused(*DENIED):
            await listed(rival, foreign)
    await lead.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=rotated.api_key.key_id))
    assert rotated.api_key.key_id not in await listed(lead)
    assert set(mine[:3]) <= set(await listed(admin, owner))


@pytest.mark.guarantee("3b.8")
async def test_no_key_gives_more_rights_than_the_one_that_made_it(lead: KeyedApi, admin: KeyedApi, owner: str):
    above = [
        ((ADMIN,), {}),
        ((CALLER, ADMIN), {}),
        ((WORKER,), {"all_owners": True}),
        ((WORKER,), {"served_owners": [owner]}),
        ((WORKER,), {"served_owners": ["default"]}),
    ]
    for roles, fields in above:
        with refused(*DENIED) as refusal:
            await lead.make(*roles, **fields)
        assert refusal.metadata == {"method": "CreateApiKey", "role": "ADMIN"}
    for roles, fields in above:
        key_id = (await admin.make(*roles, owner=owner, **fields)).api_key.key_id
        assert key_id in await listed(lead)
        with refused(*DENIED):
            await lead.admin.RotateApiKey(RotateApiKeyRequest(key_id=key_id))
        with refused(*DENIED):
            await lead.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=key_id))
        assert key_id in await listed(admin, owner)


async def test_a_request_id_of_an_owners_admin_is_apart_from_operators(
    lead: KeyedApi, admin: KeyedApi, as_holder: As, owner: str
):
    operator = as_holder(admin, (await admin.make(ADMIN, owner=owner)).token)
    elsewhere = await operator.make(CALLER, owner=f"{owner}.elsewhere", request_id="same")
    mine = await lead.make(CALLER, request_id="same")
    assert (mine.api_key.owner, mine.api_key.key_id != elsewhere.api_key.key_id) == (owner, True)


async def test_a_page_of_keys_leads_nobody_to_another_owners(
    lead: KeyedApi, rival: KeyedApi, admin: KeyedApi, owner: str
):
    await lead.make(CALLER)
    first = ListApiKeysRequest(page_size=1)
    of_lead = (await lead.admin.ListApiKeys(first)).next_page_token
    of_all = (await admin.admin.ListApiKeys(first)).next_page_token
    assert of_lead
    assert of_all
    for token in of_lead, of_all:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await rival.admin.ListApiKeys(ListApiKeysRequest(page_size=1, page_token=token))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await lead.admin.ListApiKeys(ListApiKeysRequest(page_size=1, page_token=of_all))


@pytest.mark.guarantee("3b.2")
async def test_an_owner_makes_a_bounded_number_of_keys_by_itself(store: str, tmp_path: Path):
    database = new_database(store, tmp_path)
    token = first_key(database)
    with closing(open_database(database)) as opened:
        now = clock_of(opened).calendar()
        used = [
            ApiKey(f"{n:012x}", "full", "n", frozenset(), n.to_bytes(32), now, revoke_time=now)
            for n in range(1, MAX_KEYS)
        ]
        SqlKeyStore(opened).write(lambda _: used)
    server = Server(database, tmp_path, QUICK | SETTINGS).start()
    admin = KeyedApi(server.target, token)
    full, empty = [
        KeyedApi(server.target, (await admin.make(OWNER_ADMIN, owner=name)).token) for name in ("full", "empty")
    ]
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_API_KEYS") as refusal:
        await full.make(CALLER)
    assert refusal.metadata == {"limit": str(MAX_KEYS)}
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_API_KEYS"):
        await full.admin.RotateApiKey(RotateApiKeyRequest(key_id=key_id_of(full)))
    assert (await empty.make(CALLER)).token
    key = (await admin.make(CALLER, owner="full")).api_key
    await full.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=key.key_id))
    for api in admin, full, empty:
        await api.channel.close()
    assert server.stop() == 0


async def set_to(api: KeyedApi, scope: LimitScope, number: int, owner: str = "") -> Limit:
    request = SetLimitRequest(scope=scope, max_running=number, owner=owner)
    return (await LimitServiceStub(api.channel).SetLimit(request)).limit


async def limits_of(api: KeyedApi) -> dict[str, Limit]:
    response = await LimitServiceStub(api.channel).ListLimits(ListLimitsRequest())
    return {str(limit.scope): limit for limit in response.limits}


async def delete(api: KeyedApi, scope: LimitScope, owner: str = "") -> None:
    await LimitServiceStub(api.channel).DeleteLimit(DeleteLimitRequest(scope=scope, owner=owner))


async def test_an_operators_limit_is_a_ceiling_for_the_owners_admin(
    lead: KeyedApi, rival: KeyedApi, admin: KeyedApi, owner: str, kind: str
):
    scope = kind_scope(kind)
    free = await set_to(lead, scope, 50)
    assert (free.max_running, free.HasField("ceiling")) == (50, False)
    await delete(lead, scope)
    ceiling = await set_to(admin, scope, 2, owner)
    assert (ceiling.max_running, ceiling.ceiling) == (2, 2)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "LIMIT_CEILING") as refusal:
        await set_to(lead, scope, 3)
    assert refusal.metadata == {"scope": f"kind:{kind}", "ceiling": "2"}
    with refused(*CEILING):
        await delete(lead, scope)
    lowered = await set_to(lead, scope, 1)
    assert (lowered.max_running, lowered.ceiling) == (1, 2)
    with refused(*CEILING):
        await delete(lead, scope)
    assert (await set_to(lead, scope, 2)).max_running == 2
    assert (await set_to(rival, scope, 50)).max_running == 50, "the ceiling is that of one owner"
    for foreign in owner, "nobody-at-all":
        with refused(*DENIED):
            await set_to(rival, scope, 1, foreign)
        with refused(*DENIED):
            await delete(rival, scope, foreign)
    assert (await limits_of(lead))[str(scope)].max_running == 2
    await delete(admin, scope, owner)
    assert (await set_to(lead, scope, 50)).max_running == 50
    assert not (await limits_of(lead))[str(scope)].HasField("ceiling")


async def test_the_ceiling_of_each_value_holds_for_every_value_without_one(
    lead: KeyedApi, rival: KeyedApi, admin: KeyedApi, owner: str, kind: str
):
    label = f"l{kind.rpartition('.')[2]}"
    early, late, exempt, each = (
        *(label_scope(label, value) for value in ("early", "late", "exempt")),
        each_scope(label),
    )
    for api in lead, rival:
        await set_to(api, early, 90)
    await set_to(admin, exempt, 90, owner)
    await set_to(admin, each, 3, owner)
    with refused(*CEILING):
        await set_to(lead, late, 4)
    assert (await set_to(lead, late, 3)).max_running == 3
    while (await limits_of(lead))[str(early)].max_running == 90:
        pass  # a duty lowers it
    assert {key: limit.max_running for key, limit in (await limits_of(lead)).items()} == {
        str(early): 3, str(late): 3, str(exempt): 90, str(each): 3,
    }  # fmt: skip
    await delete(lead, late)
    assert (await set_to(lead, exempt, 89)).ceiling == 90
    assert (await limits_of(rival))[str(early)].max_running == 90
    # a value that only follows has no ceiling of its own: it goes with that of the limit for each value
    follower = await lead.create(kind, labels={label: "follower"}, limited_labels=[label])
    await delete(admin, each, owner)
    assert (await set_to(lead, label_scope(label, "follower"), 90)).max_running == 90
    await lead.cancel(follower.job_id)


async def test_an_owners_admin_pauses_its_kinds_and_imports_its_past(
    lead: KeyedApi, rival: KeyedApi, theirs: KeyedApi, owner: str, rival_owner: str, kind: str
):
    await theirs.create(kind)
    await rival.create(kind)
    await pause(lead, kind, "the disk is full")
    assert await theirs.claim(kind) == []
    assert [claimed.owner for claimed in await rival.claim(kind)] == [rival_owner]
    with refused(*DENIED):
        await resume(rival, kind, owner=owner)
    assert [paused.kind for paused in await paused_kinds(theirs)] == [kind]
    await resume(lead, kind)
    assert [claimed.owner for claimed in await theirs.claim(kind)] == [owner]
    for api, whose in (lead, owner), (rival, rival_owner):
        assert (await send(api, [past(kind, kind)])).imported == 1
        imported = await api.get(kind)
        assert (imported.owner, imported.state) == (whose, COMPLETED)


@pytest.mark.guarantee("3b.8")
async def test_every_key_reads_the_quota_of_its_owner_and_no_other(
    admin: KeyedApi, lead: KeyedApi, rival: KeyedApi, as_holder: As, owner: str, kind: str
):
    caller, worker = [as_holder(admin, (await admin.make(role, owner=owner)).token) for role in (CALLER, WORKER)]
    assert not (await rival.admin.ListQuotas(ListQuotasRequest())).quotas
    await admin.admin.SetQuota(SetQuotaRequest(owner=owner, max_unfinished_jobs=1))
    await caller.create(kind)
    with pytest.raises(grpc.aio.AioRpcError, match="GetQuota shows bounds and use"):
        await caller.create(kind)
    for api in caller, worker, lead:
        for request in GetQuotaRequest(), GetQuotaRequest(owner=owner):
            quota = (await api.admin.GetQuota(request)).quota
            assert (quota.owner, quota.max_unfinished_jobs, quota.unfinished_job_count) == (owner, 1, 1)
        assert [quota.owner for quota in (await api.admin.ListQuotas(ListQuotasRequest())).quotas] == [owner]
        for foreign in "default", "nobody-at-all":
            with refused(*DENIED):
                await api.admin.GetQuota(GetQuotaRequest(owner=foreign))
        for change in SetQuotaRequest(), DeleteQuotaRequest():
            with refused(*DENIED):
                await getattr(api.admin, type(change).__name__.removesuffix("Request"))(change)
    assert (await rival.admin.GetQuota(GetQuotaRequest())).quota.unfinished_job_count == 0
    assert not (await rival.admin.ListQuotas(ListQuotasRequest())).quotas


@pytest.mark.guarantee("3b.8")
async def test_an_owners_admin_reads_its_own_usage(
    admin: KeyedApi, lead: KeyedApi, rival: KeyedApi, owner: str, kind: str
):
    await lead.create(kind)

    async def owners(api: KeyedApi, **fields: object) -> set[str]:
        response = await api.admin.GetUsage(GetUsageRequest(**fields))
        return {usage.owner for usage in response.usage}

    while owner not in await owners(admin, owner=owner):
        pass  # counts are recorded every tenth of a second
    assert await owners(lead) == {owner}
    assert (await lead.admin.GetUsage(GetUsageRequest())).quota.unfinished_job_count == 1
    assert not await owners(rival, key_id=key_id_of(lead))
    with refused(*DENIED):
        await owners(rival, owner=owner)


def test_an_owner_runs_itself_from_the_sdk_and_the_command_line(
    keyed: Keyed, owner: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    target = keyed.replicas[0].target

    def keys(token: str, *arguments: str) -> str:
        result = CliRunner().invoke(cli, ["keys", "--target", target, "--api-key", token, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    with JobClient(target, api_key=keyed.token) as operator:
        token = operator.admin.create_api_key("lead", [Role.OWNER_ADMIN], owner=owner).token
        operator.limits.set_limit(for_kind(kind), 2, owner=owner)
    assert "owner-admin" in keys(token, "list")
    keys(token, "create", "hand", "--role", "worker", "--role", "owner-admin")
    with JobClient(target, api_key=token) as client:
        assert {key.owner for key in client.admin.list_api_keys()} == {owner}
        with pytest.raises(LimitCeilingError):
            client.limits.set_limit(for_kind(kind), 3)
        assert [(limit.max_running, limit.ceiling) for limit in client.limits.list_limits()] == [(2, 2)]
        assert client.admin.get_quota(timeout=timedelta(seconds=10)).owner == owner
    monkeypatch.setenv("JOBLEDGER_TARGET", target)
    monkeypatch.setenv("JOBLEDGER_API_KEY", token)
    for arguments, shown in (["limits", "list"], "CEILING"), (["quotas", "get"], owner), (["usage"], "METHOD"):
        capsys.readouterr()
        assert run_client(arguments) == 0
        assert shown in capsys.readouterr().out
