"""Each reason that a method declares is raised by it: none is there that no caller can meet."""

import ast
import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest
from jobledger.v1.reasons import ANY_CALL, ANY_READ
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.model.history.terms import Terms
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.transport.methods import Method
from jobledger_service.transport.refusals import CallRefused
from sqlalchemy import text

from tests.access.test_refusals import leaves
from tests.conftest import QUICK
from tests.docs.documents import ROOT
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.errors import REASONS, read
from tests.support.exports import CSV, pieces
from tests.support.keys import CALLER, KeyedApi, first_key
from tests.support.methods import METHODS
from tests.support.server import Server

from .conftest import Start

pytestmark = pytest.mark.slow

DECLARED = sorted({(method.name, reason) for method in METHODS.values() for reason in method.reasons})

ELSEWHERE = {
    ("WatchJob", "HISTORY_TRIMMED"): "watch/test_resume.py::test_a_cursor_past_trimmed_history",
    ("WatchJobs", "HISTORY_TRIMMED"): "watch/test_resume.py::test_a_cursor_past_trimmed_history",
    # it waits with the watch of one job, and is refused when that is
    ("WaitOperation", "HISTORY_TRIMMED"): "watch/test_resume.py::test_a_cursor_past_trimmed_history",
    ("ExportJobs", "HISTORY_TRIMMED"): "contract/test_export_pinned.py::test_an_export_whose_history_is_gone",
    ("WatchJobs", "JOB_UNREADABLE"): "isolation/test_unreadable_rows.py::test_a_watch_continues",
    ("ClaimChunks", "TOO_MANY_CLAIMS"): "isolation/test_watch_limits.py::test_claims_have_a_bound",
    ("PauseKind", "TOO_MANY_PAUSED_KINDS"): "access/test_paused_kinds.py::test_an_owner_has_at_most",
    ("SetLimit", "LIMIT_CEILING"): "access/test_owner_admins.py::test_an_operators_limit_is_a_ceiling",
    ("DeleteLimit", "LIMIT_CEILING"): "access/test_owner_admins.py::test_an_operators_limit_is_a_ceiling",
    ("CreateApiKey", "TOO_MANY_API_KEYS"): "access/test_owner_admins.py::test_an_owner_makes_a_bounded_number",
    ("RotateApiKey", "TOO_MANY_API_KEYS"): "access/test_owner_admins.py::test_an_owner_makes_a_bounded_number",
    ("CreateWebhook", "TOO_MANY_WEBHOOKS"): "webhooks/test_endpoints.py::test_there_may_be_a_hundred",
    ("Watch", "TOO_MANY_WATCHES"): "isolation/test_watch_limits.py::test_a_connection_that_watches_health",
}
"""The tests of reasons that need a server, or many calls, of their own."""

JOBS = {
    "GetJob", "ListChunks", "ListAttempts", "ListEvents", "CancelJob", "RetryJob", "UpdateJob", "DeleteJob",
    "WatchJob", "ClaimChunk",
}  # fmt: skip
OPERATIONS = {"GetOperation", "WaitOperation", "CancelOperation", "DeleteOperation"}
ID = "00000000-0000-4000-8000-000000000001"
NEW = {"kind": "k", "itemCount": 2}
USED = "used"
ALWAYS: dict[str, dict[str, Any]] = {
    "UpdateJob": {"priority": 8, "updateMask": "priority"},
    "ListOperations": {"name": "operations"},
    "ClaimChunk": {"chunkIndex": 0, "worker": "w"},
    "CreateJob": NEW,
    "CreateApiKey": {"name": "again", "roles": ["ROLE_CALLER"], "owner": "o"},
    "CreateWebhook": {"url": "http://127.0.0.1:1025/"},
    "UpdateWebhook": {"url": "http://127.0.0.1:1025/", "updateMask": "url"},
    "RedeliverWebhook": {"deliveryId": ID},
    "UpdateJobs": {"priority": 9, "updateMask": "priority"},
    "WatchLeases": {"worker": "w"},
    "ExportJobs": {"format": "EXPORT_FORMAT_CSV"},
}
"""What a request of a method needs whatever it is about."""
OF_JOB = {
    "JOB_NOT_FOUND": "missing", "JOB_UNREADABLE": "unreadable", "ETAG_MISMATCH": "queued", "CHUNK_NOT_FOUND": "queued",
    "JOB_NOT_ENDED": "queued", "JOB_ENDED": "completed", "JOB_STARTED": "running", "NOTHING_TO_RETRY": "running",
    "CHUNK_NOT_CLAIMABLE": "running", "UNIQUE_KEY_TAKEN": "cancelled",
}  # fmt: skip
"""The jobs at which methods that name one are refused."""


BULK = {"CancelJobs", "RetryJobs", "DeleteJobs", "UpdateJobs"}
CONNECTIONS = ("Server", "Channel", "Subchannel", "Socket")
REFLECTION = "ServerReflectionInfo"
JUNK = b"\xff\xff\xff"


@dataclass
class World:
    """A server with keys, jobs in many states, and tokens from a time that was undone."""

    server: Server
    token: str
    webhook: str
    ended_key: str
    cursor: bytes
    export_token: str
    etag: str

    def request(self, method: str, reason: str) -> dict[str, Any]:
        """Return a request that is refused for this reason."""
        of_reason, of_pair = self._changes()
        given = valid(method, OF_JOB.get(reason, "queued"), self.webhook)
        return given | of_pair.get((method, reason), of_reason.get(reason, {}))

    def _changes(self) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], dict[str, Any]]]:
        """Return what else requests have, by reason, and by method and reason."""
        of_reason = {
            "PAGE_TOKEN_INVALID": {"pageToken": "x"},
            "HISTORY_LOST": {"cursor": base64.b64encode(self.cursor).decode()},
            "FOREIGN_CURSOR": {
                "cursor": base64.b64encode(Cursors(UUID(ID), lambda: Terms([(0, 0)])).encode(1)).decode()
            },
            "ETAG_MISMATCH": {"etag": self.etag},
            "REQUEST_ID_REUSED": {"requestId": USED},
            "WEBHOOK_NOT_FOUND": {"webhookId": ID},
            "API_KEY_NOT_FOUND": {"keyId": "0123456789ab"},
            "API_KEY_ENDED": {"keyId": self.ended_key},
        }
        of_pair = {
            ("ExportJobs", "PAGE_TOKEN_INVALID"): {"resumeToken": "x"},
            ("ExportJobs", "HISTORY_LOST"): {"resumeToken": self.export_token},
            ("CreateJob", "JOB_ALREADY_EXISTS"): {"jobId": "queued"},
            ("CreateJob", "JOB_UNREADABLE"): {"jobId": "unreadable"},
            ("CreateJob", "UNIQUE_KEY_TAKEN"): {"uniqueKey": "one", "onConflict": "ON_CONFLICT_REFUSE"},
            ("RetryJob", "REQUEST_ID_REUSED"): {"jobId": "cancelled", "requestId": USED},
            ("RetryJob", "CHUNK_NOT_FOUND"): {"chunkIndexes": [9]},
            ("RetryJob", "JOB_ENDED"): {"chunkIndexes": [0]},
            ("RetryJob", "NOTHING_TO_RETRY"): {"chunkIndexes": [0]},
            ("ClaimChunk", "CHUNK_NOT_FOUND"): {"chunkIndex": 9},
            ("UpdateJob", "JOB_STARTED"): {"updateMask": "scheduleTime", "scheduleTime": "2100-01-01T00:00:00Z"},
            ("Check", "SERVICE_NOT_FOUND"): {"service": "none"},
        }
        of_pair |= {(f"Get{one}", "CONNECTION_NOT_FOUND"): {f"{one.lower()}Id": 2**60} for one in CONNECTIONS}
        of_pair["GetServerSockets", "CONNECTION_NOT_FOUND"] = {"serverId": 2**60}
        # the run that it began is damaged
        of_pair |= {(name, "JOB_UNREADABLE"): {"requestId": f"{name}-{USED}"} for name in BULK}
        return of_reason, of_pair


def valid(method: str, job_id: str = "queued", webhook_id: str = ID) -> dict[str, Any]:
    """Return a request that breaks no rule."""
    given = dict(ALWAYS.get(method, {}))
    if method in JOBS:
        given["jobId"] = job_id
    if method in OPERATIONS:
        given["name"] = f"operations/{job_id}"
    if method in BULK:
        given["jobIds"] = ["bulk"]
    if "Webhook" in method and method not in ("CreateWebhook", "ListWebhooks"):
        given["webhookId"] = webhook_id
    return given


class Caller:
    """Calls any method by its description."""

    def __init__(self, server: Server, token: str = "") -> None:
        self.channel = grpc.aio.insecure_channel(server.target)
        self._metadata = [("authorization", f"Bearer {token}")] if token else None

    def begin(self, method: Method, given: dict[str, Any]) -> Any:
        """Begin a call; a stream of requests stays open, and empty."""
        described = method.descriptor.methods_by_name[method.name]
        request = ParseDict(given, GetMessageClass(described.input_type)())
        sends, gets = (
            "stream" if many else "unary" for many in (described.client_streaming, described.server_streaming)
        )
        call = getattr(self.channel, f"{sends}_{gets}")(
            f"/{method.service}/{method.name}",
            type(request).SerializeToString,
            GetMessageClass(described.output_type).FromString,
        )
        return call(_nothing() if described.client_streaming else request, timeout=BOUND, metadata=self._metadata)

    async def outcome(self, method: Method, given: dict[str, Any]) -> str:
        """Return the reason for which a call is refused, or that it is not."""
        call = self.begin(method, given)
        try:
            return await self.answer(call)
        finally:
            call.cancel()

    async def answer(self, call: Any) -> str:
        """Return what the first answer of a call is: the reason of a refusal, or that there is one."""
        try:
            await (call.read() if hasattr(call, "read") else call)
        except grpc.aio.AioRpcError as error:
            return read(error).reason
        return "answered"


async def _nothing() -> AsyncIterator[Message]:
    await asyncio.Event().wait()
    yield Message()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("reasons")
    database = new_database("sqlite", directory)
    token = first_key(database)
    settings = {
        "auth": "keys",
        "webhook_allow_http": "true",
        "channelz": "main",
        "reflection": "main",
        "processes": "1",
    }
    server = Server(database, directory, QUICK | settings).start()
    webhook, ended_key, etag = asyncio.run(_fill(server, token))
    assert server.stop() == 0
    file = Path(database.removeprefix("sqlite:///"))
    copy = shutil.copy(file, directory / "copy")
    server.start()
    cursor, export_token = asyncio.run(_look_ahead(server, token))
    assert server.stop() == 0
    shutil.copy(copy, file)
    with closing(open_database(database)) as opened, opened.write() as connection:
        damage = "UPDATE jobs SET settled = :to, fixed = :to WHERE job_id = 'unreadable' OR kind LIKE 'jobledger.%'"
        assert connection.execute(text(damage), {"to": JUNK}).rowcount == 1 + len(BULK)
    yield World(server.start(), token, webhook, ended_key, cursor, export_token, etag)
    server.kill()


async def _fill(server: Server, token: str) -> tuple[str, str, str]:
    api, caller = KeyedApi(server.target, token), Caller(server, token)
    for job_id in ("running", "completed"):
        await api.create("k", job_id=job_id, priority=9)
        [claimed] = await api.claim("k")
    await api.complete(claimed)
    await api.create("k", job_id="cancelled", unique_key="one")
    await api.cancel("cancelled")
    await api.create("k", job_id="unique", unique_key="one")
    queued = await api.create("k", job_id="queued")
    await api.update("queued", update_mask={"paths": ["priority"]}, priority=3)
    for job_id in ("unreadable", "bulk"):
        await api.create("k", job_id=job_id)
    await api.create("k", request_id=USED)
    key = (await api.make(CALLER, name="ended", request_id=USED)).api_key
    await api.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=key.key_id))
    hook = CreateWebhookRequest(url="http://127.0.0.1:1024/", request_id=USED)
    webhook = (await WebhookServiceStub(api.channel).CreateWebhook(hook)).webhook.webhook_id
    for name in BULK:
        given = ALWAYS.get(name, {}) | {"jobIds": ["bulk"], "requestId": f"{name}-{USED}"}
        assert await caller.outcome(_method(name), given) == "answered"
    return webhook, key.key_id, queued.etag


async def _look_ahead(server: Server, token: str) -> tuple[bytes, str]:
    """Return a cursor and the token of an export from a time that is undone then."""
    api = KeyedApi(server.target, token)
    many = [CreateJobRequest(kind="k") for _ in range(400)]
    for _ in range(3):
        await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=many))
    first, *_ = [piece async for piece in pieces(api, format=CSV)]
    assert first.resume_token
    return first.cursor, first.resume_token


def _method(name: str) -> Method:
    [*_, method] = [one for one in METHODS.values() if one.name == name]
    return method


HELD = ("TOO_MANY_WATCHES", "QUOTA_EXCEEDED", "TOO_MANY_READS", "READ_TOO_LONG", "AUTH_DISABLED")
"""The reasons for which servers or owners of their own are needed."""


@pytest.mark.guarantee("3e.7")
@pytest.mark.long
async def test_each_declared_reason_is_raised_by_its_method(world: World):
    caller = Caller(world.server, world.token)
    raised = {}
    for name, reason in DECLARED:
        if reason not in HELD and (name, reason) not in ELSEWHERE:
            raised[name, reason] = await caller.outcome(_method(name), world.request(name, reason))
    wrong = [(*pair, got) for pair, got in raised.items() if got != pair[1]]
    assert not wrong, str(wrong)


async def test_each_method_about_keys_is_refused_without_them(start_sqlite: Start):
    caller = Caller(start_sqlite())
    for name in methods_with("AUTH_DISABLED"):
        given = valid(name) | ({"keyId": "0123456789ab"} if name in ("RevokeApiKey", "RotateApiKey") else {})
        assert (name, await caller.outcome(_method(name), given)) == (name, "AUTH_DISABLED")


def methods_with(reason: str) -> list[str]:
    """Return the methods that declare a reason, but for those with a test elsewhere."""
    return [name for name, one in DECLARED if one == reason and (name, one) not in ELSEWHERE]


async def test_each_watch_too_many_is_refused(start_sqlite: Start):
    server = start_sqlite(reflection="main", MAX_WATCHES_WITHOUT_KEYS="1")
    api, caller = Api(grpc.aio.insecure_channel(server.target)), Caller(server)
    await api.create("k", job_id="queued")
    async with api.watch_jobs() as watch:
        await watch.message()
        for name in methods_with("TOO_MANY_WATCHES"):
            if name != REFLECTION:
                assert (name, await caller.outcome(_method(name), valid(name))) == (name, "TOO_MANY_WATCHES")
    # those that need no key are counted by connection
    open_ = [caller.begin(_method(REFLECTION), {}) for _ in range(17)]
    answers = [asyncio.create_task(caller.answer(one)) for one in open_]
    done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    for one in (*waiting, *open_):
        one.cancel()
    assert [one.result() for one in done] == ["TOO_MANY_WATCHES"]


async def test_what_is_more_than_a_quota_is_refused(start_sqlite: Start):
    server = start_sqlite(watches_per_owner="1", unfinished_jobs_per_owner="1")
    api, caller = Api(grpc.aio.insecure_channel(server.target)), Caller(server)
    await api.create("k", job_id="cancelled")
    await api.cancel("cancelled")
    await api.create("k", job_id="queued")
    async with api.watch_jobs() as watch:
        await watch.message()
        for name in methods_with("QUOTA_EXCEEDED"):
            given = valid(name, "cancelled" if name == "RetryJob" else "queued")
            assert (name, await caller.outcome(_method(name), given)) == (name, "QUOTA_EXCEEDED")


async def test_each_write_that_reads_first_is_refused_as_a_read(start_sqlite: Start):
    server = start_sqlite(webhook_allow_http="true", READS_PER_OWNER="1")
    api, caller = Api(grpc.aio.insecure_channel(server.target)), Caller(server)
    await api.create("k", job_id="bulk")
    hook = CreateWebhookRequest(url="http://127.0.0.1:1024/")
    webhook = (await WebhookServiceStub(api.channel).CreateWebhook(hook)).webhook.webhook_id
    for name in methods_with("TOO_MANY_READS"):
        given = valid(name, webhook_id=webhook)
        while "TOO_MANY_READS" not in await asyncio.gather(*(caller.outcome(_method(name), given) for _ in range(20))):
            pass
    # what waits for its turn to read has the time limit of reads, too
    assert methods_with("READ_TOO_LONG") == methods_with("TOO_MANY_READS")


def test_each_reason_of_the_contract_is_declared_or_may_meet_any_call():
    declared = {reason for _, reason in DECLARED}
    assert declared | ANY_CALL | ANY_READ | {"INTERNAL", "UNSPECIFIED"} == REASONS
    assert not declared & ANY_CALL


def test_each_refusal_is_raised_somewhere():
    """A class that no code names would be a reason that nothing raises."""
    named = {
        getattr(node, "attr", "") or getattr(node, "id", "")
        for file in (ROOT / "service" / "jobledger_service").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    refusals = {
        one for one in (*leaves(CallRefused), *leaves(Refusal)) if one.__module__.startswith("jobledger_service.")
    }
    assert {one.__name__ for one in refusals} - named == set()


async def test_each_reason_that_is_held_elsewhere_is_in_the_named_test():
    assert set(ELSEWHERE) <= set(DECLARED)
    for (_, reason), where in ELSEWHERE.items():
        file, _, name = where.partition("::")
        body = (ROOT / "tests" / file).read_text()
        found = re.search(rf"^(?:async )?def {name}.*?(?=^(?:async )?def |^@|\Z)", body, re.MULTILINE | re.DOTALL)
        assert found, where
        assert f'"{reason}"' in found[0], where
