"""A database with rows of alice's that cannot be read, as an earlier version, or somebody else, may have left them."""

import base64
import json
from contextlib import closing
from dataclasses import dataclass
from math import nan

from google.protobuf.struct_pb2 import Struct
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1 import webhook_service_pb2 as hook_rpc
from jobledger.v1.job_pb2 import Job
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub
from jobledger_service.core.database.engines import open_database
from msgspec import msgpack
from sqlalchemy import text

from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.server import Server

KIND = "k"
QUEUE = "queue"
NAMES = ["nan", "policy", "deep", "event", "chunk", "told", "good"]
BAD = {"nan", "policy", "chunk"}
"""Jobs whose rows cannot be read, or shown as JSON, in view FULL."""


@dataclass
class Damaged:
    """A server over a database with bad rows of alice's; her jobs and bob's have the names of NAMES as ids."""

    server: Server
    alice: str
    bob: str
    cursor: bytes
    webhooks: dict[str, str]


async def fill(server: Server, admin: str) -> tuple[str, str, bytes, dict[str, str]]:
    """Make jobs and webhooks of alice and of bob; return their keys, a cursor from before them, and the webhooks."""
    keys, webhooks, cursor = [], {}, b""
    maker = KeyedApi(server.target, admin)
    for owner in ("alice", "bob"):
        key = await maker.make(CALLER, WORKER, ADMIN, owner=owner, name=owner)
        api = KeyedApi(server.target, key.token)
        cursor = cursor or (await api.list_jobs()).cursor
        created = await WebhookServiceStub(api.channel).CreateWebhook(
            hook_rpc.CreateWebhookRequest(url="http://127.0.0.1:1024/")
        )
        webhooks[owner] = created.webhook.webhook_id
        for name in NAMES:
            await api.create(KIND, job_id=name, input={"n": 1})
        for name, priority in (("deeper", 9), ("fine", 1)):
            await api.create("deeper", job_id=name, priority=priority, input={"n": 1})
        for name, priority in (("no-job", 9), ("no-chunk", 8), ("after", 1)):
            await api.create(QUEUE, job_id=name, priority=priority, item_count=3, chunk_size=1)
        for name, priority in (("labelled", 9), ("plain", 1)):
            await api.create("labelled", job_id=name, priority=priority, labels={"a": "b"})
        for name in ("ended", "kept"):  # these are outlived, and one of alice's cannot be removed
            await api.create("other", job_id=name)
            await api.cancel(name)
        await api.channel.close()
        keys.append(key.token)
    await maker.channel.close()
    return keys[0], keys[1], cursor, webhooks


def _artifacts(number: float) -> str:
    metadata = Struct()
    metadata.fields["loss"].number_value = number
    raw = base64.b64encode(metadata.SerializeToString()).decode()
    return json.dumps({"model": ["s3://b/k", "", None, raw, 1]})


def _told_artifacts(number: float) -> bytes:
    reported = Job()
    reported.artifacts["model"].uri = "s3://b/k"
    reported.artifacts["model"].metadata.fields["loss"].number_value = number
    return reported.SerializeToString()


def _deep() -> bytes:
    outer = inner = Struct()
    for _ in range(32):
        inner.fields["a"].struct_value.SetInParent()
        inner = inner.fields["a"].struct_value
    return outer.SerializeToString()


def damage(database: str) -> None:
    """Damage rows of alice's."""
    with closing(open_database(database)) as opened, opened.write() as connection:

        def change(sql: str, **values: object) -> None:
            assert connection.execute(text(sql), values).rowcount == 1, sql

        change(
            "INSERT INTO artifact_versions SELECT job_key, uid, -1, revision, :content, :encoded FROM jobs"
            " WHERE job_key = 'alice/nan'",
            content=_artifacts(nan),
            encoded=_told_artifacts(nan),
        )
        change("UPDATE jobs SET artifacts_revision = revision WHERE job_key = 'alice/nan'")
        junk = {"to": b"\xff\xff\xff"}
        # Who reads a job has its segments, and who changes it the columns and bodies beside them.
        change("UPDATE jobs SET settled = :to, fixed = :to WHERE job_key = 'alice/policy'", **junk)
        change("UPDATE jobs SET input = :to WHERE job_key = 'alice/deep'", to=_deep())
        change("UPDATE jobs SET input = :to WHERE job_key = 'alice/deeper'", to=_deep())
        change("UPDATE chunks SET artifacts_revision = 99 WHERE job_key = 'alice/chunk'")
        change("UPDATE jobs SET settled = :to WHERE job_key = 'alice/no-job'", **junk)
        change("UPDATE chunks SET artifacts_revision = 99 WHERE job_key = 'alice/no-chunk' AND chunk_index = 0")
        # Whole, but for labels that are no labels, and a text that is no text.
        body = connection.execute(text("SELECT current FROM jobs WHERE job_key = 'alice/labelled'")).scalar_one()
        labels = msgpack.encode({"a": "b"})
        assert body.count(labels) == 1
        body = body.replace(labels, msgpack.encode([1]))
        moving = Job(display_name="ü").SerializeToString().replace(b"\xbc", b"\xff")
        of_labelled = "UPDATE jobs SET current = :body, moving = :moving WHERE job_key = 'alice/labelled'"
        change(of_labelled, body=body, moving=moving)
        change("UPDATE events SET message = :to WHERE job_key = 'alice/event'", **junk)
        raw = connection.execute(text("SELECT message FROM events WHERE job_key = 'alice/told'")).scalar_one()
        reported = rpc.WatchJobResponse.FromString(raw)
        reported.job.artifacts["model"].metadata.fields["loss"].number_value = nan
        reported.job.artifacts["model"].uri = "s3://b/k"
        change("UPDATE events SET message = :to WHERE job_key = 'alice/told'", to=reported.SerializeToString())
        for key in ("alice/ended", "alice/kept", "bob/ended", "bob/kept"):
            change("UPDATE jobs SET expire_time = 1 WHERE job_key = :key", key=key)
        change("UPDATE jobs SET settled = :to, fixed = :to WHERE job_key = 'alice/kept'", **junk)
        # All events are recorded for webhooks anew.
        connection.execute(text("DELETE FROM deliveries"))
        for key, raw in connection.execute(text("SELECT webhook_key, webhook FROM webhooks")).all():
            anew = json.dumps(json.loads(raw) | {"after": 0})
            change("UPDATE webhooks SET webhook = :to WHERE webhook_key = :key", to=anew, key=key)
        change("UPDATE webhook_checkpoint SET position = 0")
