"""Each change of keys, limits, paused kinds and webhooks takes a reason, which the log of the server has."""

import json

import pytest
from google.protobuf import descriptor_pool
from jobledger.v1 import admin_service_pb2 as keys
from jobledger.v1 import limit_service_pb2 as limits
from jobledger.v1 import webhook_service_pb2 as hooks
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.access.conftest import As, Keyed
from tests.support.errors import invalid
from tests.support.keys import ADMIN, KeyedApi
from tests.support.limits import kind_scope

READS = ("Get", "List", "Watch", "Export")
WITHOUT = {
    "CreateJob": "its history begins with it",
    "BatchCreateJobs": "as CreateJob",
    "PingWebhook": "changes nothing",
}


@pytest.mark.guarantee("3e.9")
def test_every_change_takes_a_reason():
    for file in ("job_service", "admin_service", "limit_service", "webhook_service"):
        for service in descriptor_pool.Default().FindFileByName(f"jobledger/v1/{file}.proto").services_by_name.values():
            for method in service.methods:
                reads = method.name.startswith((*READS, "BatchGet"))
                has_reason = "reason" in method.input_type.fields_by_name
                assert has_reason == (not reads and method.name not in WITHOUT), method.name


def logged(keyed: Keyed, kind: str) -> list[dict[str, str | None]]:
    """Return the lines of the log whose reason begins with the kind."""
    lines = (json.loads(line) for line in keyed.replicas[0].log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if (line.get("reason") or "").startswith(kind)]


@pytest.mark.guarantee("3e.9")
async def test_the_log_says_who_changed_what_and_why(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    made = await admin.make(ADMIN, name="ops", owner="operations")
    api = as_holder(keyed.replicas[0], made.token)
    by, scope = f"ops/{made.api_key.key_id}", kind_scope(kind)
    of, on = LimitServiceStub(api.channel), WebhookServiceStub(api.channel)
    key = (await api.make(ADMIN, owner="tenant", reason=f"{kind} 1")).api_key.key_id
    rotated = await api.admin.RotateApiKey(keys.RotateApiKeyRequest(key_id=key, reason=f"{kind} 2"))
    await api.admin.RevokeApiKey(keys.RevokeApiKeyRequest(key_id=rotated.api_key.key_id, reason=f"{kind} 3"))
    await of.SetLimit(limits.SetLimitRequest(scope=scope, max_running=3, owner="tenant", reason=f"{kind} 4"))
    await of.DeleteLimit(limits.DeleteLimitRequest(scope=scope, owner="tenant", reason=f"{kind} 5"))
    await of.PauseKind(limits.PauseKindRequest(kind=kind, owner="tenant", reason=f"{kind} 6"))
    await of.ResumeKind(limits.ResumeKindRequest(kind=kind, owner="tenant", reason=f"{kind} 7"))
    create = hooks.CreateWebhookRequest(url="https://example.org/", request_id=kind, reason=f"{kind} 8")
    webhook = (await on.CreateWebhook(create)).webhook.webhook_id
    create.reason = f"{kind} again"  # the same request, of which nothing new is logged
    assert (await on.CreateWebhook(create)).webhook.webhook_id == webhook
    change = {"update_mask": {"paths": ["description"]}, "description": "x"}
    await on.UpdateWebhook(hooks.UpdateWebhookRequest(webhook_id=webhook, reason=f"{kind} 9", **change))
    await on.RotateWebhookSecret(hooks.RotateWebhookSecretRequest(webhook_id=webhook, reason=f"{kind} 10"))
    again = hooks.RedeliverWebhookRequest(webhook_id=webhook, since_position=0, reason=f"{kind} 11")
    await on.RedeliverWebhook(again)
    await on.DeleteWebhook(hooks.DeleteWebhookRequest(webhook_id=webhook, reason=f"{kind} 12"))
    lines = logged(keyed, kind)
    assert [line["reason"] for line in lines] == [f"{kind} {number}" for number in range(1, 13)]
    assert [line["event"] for line in lines] == [
        "key created",
        "key rotated",
        "key revoked",
        "limit set",
        "limit deleted",
        "kind paused",
        "kind resumed",
        "webhook created",
        "webhook updated",
        "webhook secret rotated",
        "webhook redelivered",
        "webhook deleted",
    ]
    assert {line["by"] for line in lines} == {by}
    assert [line["owner"] for line in lines] == ["tenant"] * 7 + ["operations"] * 5
    assert (lines[3]["scope"], lines[3]["max_running"], lines[7]["webhook_id"]) == (f"kind:{kind}", 3, webhook)


@pytest.mark.parametrize("service", ["AdminService", "LimitService", "WebhookService"])
async def test_a_reason_is_bounded(admin: KeyedApi, service: str, kind: str):
    full = descriptor_pool.Default().FindServiceByName(f"jobledger.v1.{service}")
    for method in full.methods:
        if "reason" not in method.input_type.fields_by_name:
            continue
        known = method.input_type.fields_by_name
        given = {
            "name": kind,
            "roles": [ADMIN],
            "key_id": "0" * 12,
            "kind": kind,
            "scope": kind_scope(kind),
            "max_running": 1,
            "url": "https://example.org/",
            "webhook_id": "a",
            "since_position": 0,
            "update_mask": {"paths": ["description"]},
        }
        form = method.input_type._concrete_class
        request = form(reason="x" * 1_025, **{name: value for name, value in given.items() if name in known})
        with invalid("reason"):
            await admin.channel.unary_unary(f"/{full.full_name}/{method.name}")(request.SerializeToString())
