"""Secrets: shown once, rotated with a grace period in which both sign."""

from datetime import UTC, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from jobledger.v1 import webhook_service_pb2 as rpc

from tests.support.errors import invalid
from tests.support.receiver import Receiver
from tests.webhooks.conftest import CREATED, Hooks

HOUR = timedelta(hours=1)


async def rotate(hook: Hooks, webhook_id: str, **fields: object) -> rpc.RotateWebhookSecretResponse:
    return await hook.calls.RotateWebhookSecret(rpc.RotateWebhookSecretRequest(webhook_id=webhook_id, **fields))


async def test_both_secrets_sign_during_the_grace_period(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind, event_types=CREATED)
    webhook_id = created.webhook.webhook_id
    rotated = await rotate(hook, webhook_id, grace_period=HOUR)
    await hook.api.create(kind)
    reported = await receiver.next()
    assert len(reported.headers["webhook-signature"].split()) == 2
    assert reported.verified_by(created.secret)
    assert reported.verified_by(rotated.secret)
    assert rotated.secret != created.secret

    newest, oldest = rotated.webhook.secrets
    assert not newest.HasField("expire_time")
    assert oldest.expire_time.ToDatetime(UTC) - newest.create_time.ToDatetime(UTC) == HOUR
    assert newest.create_time.ToDatetime(UTC) > oldest.create_time.ToDatetime(UTC)


async def test_without_a_grace_period_the_old_secret_ends_at_once(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind, event_types=CREATED)
    rotated = await rotate(hook, created.webhook.webhook_id, grace_period=timedelta(0))
    await hook.ping(created.webhook.webhook_id)
    reported = await receiver.next()
    assert reported.verified_by(rotated.secret)
    assert not reported.verified_by(created.secret)
    assert len(rotated.webhook.secrets) == 1


async def test_a_grace_period_ends_by_time(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind)
    rotated = await rotate(hook, created.webhook.webhook_id, grace_period=timedelta(milliseconds=300))
    both = True
    while both:
        await hook.ping(created.webhook.webhook_id)
        reported = await receiver.next()
        assert reported.verified_by(rotated.secret)
        both = reported.verified_by(created.secret)


async def test_a_repeated_rotation_leaves_the_first_secret_in_force(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind)
    webhook_id = created.webhook.webhook_id
    secrets = [created.secret] + [(await rotate(hook, webhook_id, grace_period=HOUR)).secret for _ in range(4)]
    await hook.ping(webhook_id)
    reported = await receiver.next()
    assert all(reported.verified_by(secret) for secret in secrets)

    last = await rotate(hook, webhook_id, grace_period=2 * HOUR)  # one too many: the one whose time ends first goes
    await hook.ping(webhook_id)
    reported = await receiver.next()
    assert [reported.verified_by(secret) for secret in [*secrets, last.secret]] == [False] + [True] * 5


async def test_secrets_are_shown_at_creation_and_rotation_alone(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind, request_id=kind)
    webhook_id = created.webhook.webhook_id
    assert created.secret.startswith("whsec_")
    bare = created.secret.removeprefix("whsec_")
    for answer in (
        await hook.get(webhook_id),
        await hook.update(webhook_id, "description", description="d"),
        await hook.calls.ListWebhooks(rpc.ListWebhooksRequest()),
    ):
        assert bare.encode() not in answer.SerializeToString()
    again = await hook.create(receiver, kind, request_id=kind)
    assert (again.created, again.secret, again.webhook.webhook_id) == (False, created.secret, webhook_id)
    await rotate(hook, webhook_id, grace_period=timedelta(0))
    assert (await hook.create(receiver, kind, request_id=kind)).secret == ""


@pytest.mark.parametrize(
    "grace_period", [Duration(seconds=-1), Duration(seconds=30 * 86_400 + 1), Duration(nanos=10**9)]
)
async def test_a_grace_period_has_its_range(hook: Hooks, receiver: Receiver, kind: str, grace_period: Duration):
    created = await hook.create(receiver, kind)
    with invalid("grace_period"):
        await rotate(hook, created.webhook.webhook_id, grace_period=grace_period)
