"""Secrets of webhooks are sealed at rest by the operator's keys; a wrong key fails deliveries with words."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from jobledger.v1 import webhook_service_pb2 as rpc
from jobledger_service.core.database.engines import open_database
from jobledger_service.features.webhooks.tables import webhooks
from sqlalchemy import select

from tests.conftest import QUICK
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.test_server import refused_to_start

from .conftest import CREATED, LOCAL, Hooks

FIRST, SECOND, THIRD = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 255))
Connect = Callable[[Server], Api]


def server(database: str, directory: Path, keys: str = "") -> Server:
    return Server(database, directory, QUICK | LOCAL | {"secrets_keys": keys}).start()


def kept(database: str) -> list[str]:
    """Return what a stopped server's database holds of all secrets."""
    with closing(open_database(database)) as opened, opened.read() as connection:
        rows = connection.execute(select(webhooks.c.webhook)).scalars()
        return [secret["value"] for row in rows for secret in json.loads(row)["secrets"]]


async def delivered(hooks: Hooks, receiver: Receiver, secret: str, kind: str) -> bool:
    """Whether a new job's delivery is signed with a secret."""
    await hooks.api.create(kind)
    return (await receiver.next()).verified_by(secret)


async def test_secrets_are_sealed_at_rest_and_deliveries_signed(
    store: str, tmp_path: Path, connect: Connect, receiver: Receiver, kind: str
):
    database = new_database(store, tmp_path)
    serving = server(database, tmp_path, f"{FIRST} {SECOND}")
    hooks = Hooks(connect(serving))
    made = await hooks.create(receiver, kind, event_types=CREATED, request_id="once")
    again = await hooks.create(receiver, kind, event_types=CREATED, request_id="once")
    assert made.secret.startswith("whsec_")
    assert again.secret == made.secret
    assert await delivered(hooks, receiver, made.secret, kind)
    rotated = await hooks.calls.RotateWebhookSecret(rpc.RotateWebhookSecretRequest(webhook_id=made.webhook.webhook_id))
    assert await delivered(hooks, receiver, rotated.secret, kind)
    assert serving.stop() == 0
    secrets = kept(database)
    assert len(secrets) == 2
    assert all(one.startswith("fernet:") for one in secrets)
    assert serving.defects() == []


async def test_plain_secrets_are_sealed_at_the_start_and_again_when_the_first_key_changes(
    store: str, tmp_path: Path, connect: Connect, receiver: Receiver, kind: str
):
    database = new_database(store, tmp_path)
    plain = server(database, tmp_path)
    made = await Hooks(connect(plain)).create(receiver, kind, event_types=CREATED)
    assert plain.stop() == 0
    assert kept(database) == [made.secret]
    seen = [made.secret]
    for keys in (FIRST, f"{SECOND} {FIRST}", SECOND):
        serving = server(database, tmp_path, keys)
        hooks = Hooks(connect(serving))
        assert await delivered(hooks, receiver, made.secret, kind)
        while keys != SECOND and "webhooks are sealed" not in serving.log.read_text():
            await hooks.get(made.webhook.webhook_id)
        assert serving.stop() == 0
        seen += kept(database)
        assert serving.defects() == []
    assert len(set(seen)) == 3
    assert seen[2] == seen[3], "what the first key has sealed stays"


async def test_without_the_right_key_an_attempt_fails_with_words_and_the_right_key_mends_it(
    store: str, tmp_path: Path, connect: Connect, receiver: Receiver, kind: str
):
    database = new_database(store, tmp_path)
    sealed = server(database, tmp_path, FIRST)
    made = await Hooks(connect(sealed)).create(receiver, kind, event_types=CREATED)
    assert sealed.stop() == 0
    for count, keys, result in ((1, THIRD, "with any of this server's"), (2, "", "has no secrets_keys")):
        wrong = server(database, tmp_path, keys)
        hooks = Hooks(connect(wrong))
        answer = await hooks.ping(made.webhook.webhook_id)
        assert not answer.delivered
        assert result in answer.attempt.error
        await hooks.api.create(kind)
        await hooks.settled(made.webhook.webhook_id, count=count)
        other = await hooks.create(receiver, f"{kind}.other{count}", event_types=CREATED)
        assert await delivered(hooks, receiver, other.secret, f"{kind}.other{count}"), "other webhooks go on"
        assert wrong.stop() == 0
        assert all("cannot be read" in line["event"] for line in wrong.defects())
    mended = server(database, tmp_path, f"{FIRST} {THIRD}")
    for _ in range(2):
        assert (await receiver.next()).verified_by(made.secret)
    assert mended.stop() == 0


@pytest.mark.parametrize(
    ("keys", "result"), [("x y", "key 1 must be base64"), (f"{FIRST} c2hvcnQ=", "key 2 must have 32 bytes; got 5")]
)
def test_a_server_does_not_start_with_a_key_that_is_invalid(tmp_path: Path, keys: str, result: str):
    reported = refused_to_start(tmp_path, "--database", f"sqlite:///{tmp_path}/x.db", "--secrets-keys", keys, status=78)
    assert f"--secrets-keys: {result}" in reported
    assert FIRST not in reported
