"""Webhooks through the SDK and the command line."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from jobledger_client import (
    AsyncJobClient,
    DeliveryNotFoundError,
    InvalidFieldError,
    WebhookDeliveryState,
    WebhookEventType,
    WebhookNotFoundError,
    WebhookState,
)
from jobledger_client.cli._main import run

from tests.support.bounds import CALL_TIMEOUT
from tests.support.receiver import Receiver
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK and the command line see messages, not the store")

ACTIVE, DISABLED = WebhookState.ACTIVE, WebhookState.DISABLED


async def test_the_sdk_has_every_call(hook_server: Server, receiver: Receiver, kind: str):
    async with AsyncJobClient(hook_server.target, timeout=CALL_TIMEOUT) as client:
        created = await client.webhooks.create_webhook(
            receiver.url, kinds=[kind], event_types=[WebhookEventType.JOB_CREATED, WebhookEventType.JOB_CANCELLED]
        )
        webhook_id = created.webhook.webhook_id
        assert (await client.webhooks.ping_webhook(webhook_id)).delivered
        await client.create_job(kind)
        _, reported = await receiver.take(2)
        assert reported.verified_by(created.secret)
        rotated = await client.webhooks.rotate_webhook_secret(webhook_id, grace_period=timedelta(hours=1))
        assert len(rotated.webhook.secrets) == 2

        while not [
            one
            async for one in client.webhooks.list_webhook_deliveries(
                webhook_id, states=[WebhookDeliveryState.DELIVERED], page_size=1
            )
        ]:
            pass
        assert await client.webhooks.redeliver_webhook(webhook_id, delivery_id=reported.id) == 1
        assert (await receiver.next()).id == reported.id
        with pytest.raises(DeliveryNotFoundError):
            await client.webhooks.redeliver_webhook(webhook_id, delivery_id="x")

        changed = await client.webhooks.update_webhook(webhook_id, description="new", labels={"a": "1"}, state=DISABLED)
        assert (changed.description, dict(changed.labels), changed.state) == ("new", {"a": "1"}, DISABLED)
        assert changed == await client.webhooks.get_webhook(webhook_id)
        assert (await client.webhooks.update_webhook(webhook_id, state=ACTIVE)).state == ACTIVE
        with pytest.raises(InvalidFieldError):
            await client.webhooks.update_webhook(webhook_id)
        with pytest.raises(TypeError, match=r"must be a member, .* got 'job\.done'"):
            await client.webhooks.create_webhook(receiver.url, event_types=["job.done"])
        assert webhook_id in [one.webhook_id async for one in client.webhooks.list_webhooks(page_size=1)]
        await client.webhooks.delete_webhook(webhook_id)
        with pytest.raises(WebhookNotFoundError):
            await client.webhooks.delete_webhook(webhook_id)


async def test_a_repeated_creation_creates_one_webhook(hook_server: Server, receiver: Receiver, kind: str):
    async with AsyncJobClient(hook_server.target, timeout=CALL_TIMEOUT) as client:
        one, two = [await client.webhooks.create_webhook(receiver.url, kinds=[kind], request_id=kind) for _ in range(2)]
        assert (one.secret, one.webhook.webhook_id) == (two.secret, two.webhook.webhook_id)
        await client.webhooks.delete_webhook(one.webhook.webhook_id)


class Shell:
    """Runs `jobledger webhooks` in this process."""

    def __init__(self, printed: pytest.CaptureFixture[str]) -> None:
        self._printed = printed

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run(["webhooks", *words]) == code
        printed = self._printed.readouterr()
        return printed.out or printed.err

    def json(self, *words: str):
        return json.loads(self(*words, "--output", "json"))


@pytest.fixture
def shell(hook_server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("JOBLEDGER_TARGET", hook_server.target)
    return Shell(capsys)


def id_and_secret(printed: str) -> tuple[str, str]:
    webhook, secret = [line.partition(":")[2].strip() for line in printed.splitlines()]
    return webhook, secret


async def test_the_command_line_has_every_command(shell: Shell, receiver: Receiver, kind: str, tmp_path: Path):
    options = ["--event", "job.created", "--event", "job.progress", "--percent", "40", "--kind", kind]
    webhook_id, secret = id_and_secret(shell("create", receiver.url, *options, "--label", "a=1", "--description", "d"))
    assert secret.startswith("whsec_")
    [listed] = [one for one in shell.json("list")["webhooks"] if one["webhookId"] == webhook_id]
    assert (listed["progressPercents"], listed["kinds"], listed["labels"]) == ([40], [kind], {"a": "1"})
    assert "job.created, job.progress" in shell("list")

    assert "answered 200" in shell("ping", webhook_id)
    assert (await receiver.next()).verified_by(secret)
    receiver.fail(500)
    assert "answered 500" in shell("ping", webhook_id, code=1)
    await receiver.next()
    receiver.fail(times=0)

    assert run(["create", kind, "--label", "a=1"]) == 0
    reported = await receiver.next()
    while "DELIVERED" not in shell("deliveries", webhook_id):
        pass
    [delivery] = shell.json("deliveries", webhook_id, "--state", "DELIVERED")["deliveries"]
    assert delivery["deliveryId"] == reported.id
    assert shell("redeliver", webhook_id, "--delivery", reported.id) == "1 repeated\n"
    assert (await receiver.next()).id == reported.id

    _, newer = id_and_secret(shell("rotate", webhook_id, "--grace-period", "1h"))
    assert newer not in ("", secret)
    assert "(DISABLED)" in shell("update", webhook_id, "--disable")
    assert "(ACTIVE)" in shell("update", webhook_id, "--resume", "--url", f"{receiver.url}/new")
    assert shell("delete", webhook_id) == f"{webhook_id}: deleted\n"
    assert "there is no webhook" in shell("ping", webhook_id, code=66)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["create", "https://example.org:22/"], 65, "must have port 80, 443 or 1024 to 65535; got 22"),
        (
            ["create", "https://example.org/", "--event", "job.done"],
            2,
            "must be one of job.created, job.started",
        ),
        (["update", "x"], 2, "a change is required"),
        (["update", "x", "--resume", "--disable"], 2, "exclude each other"),
        (["redeliver", "0"], 65, "delivery_id: is required unless since_position is given"),
        (["rotate", "0", "--grace-period", "soon"], 2, "must be a duration such as 30s, 5m, 2h or 7d; got 'soon'"),
        (["lst"], 2, "No such command 'lst'"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(shell: Shell, words: list[str], code: int, sentence: str):
    assert sentence in shell(*words, code=code)
