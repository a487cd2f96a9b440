"""Every message field comes once, since parsers such as protobufjs take the last of several and merge nothing."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1 import job_service_pb2, worker_service_pb2

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.server import Server
from tests.support.wire import repeated_messages

pytestmark = pytest.mark.one_store("the encoding is that of messages, not of the store")

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for service in (
        job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
        worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
    )
    for method in service.methods
}
ARTIFACTS = {"artifacts": {"a": {"uri": "s3://b/a"}}, "job_artifacts": {"b": {"uri": "s3://b/b"}}}


class Caller:
    """Calls methods, and checks the bytes of each answer before they are decoded."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def __call__(self, name: str, **request: Any) -> Any:
        [answer] = await self.messages(name, 1, **request)
        return answer

    async def messages(self, name: str, count: int, **request: Any) -> list[Any]:
        """Return the first messages of an answer."""
        method = METHODS[name]
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call = kind(
            f"/{method.containing_service.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=lambda raw: raw,
        )(GetMessageClass(method.input_type)(**request), timeout=BOUND)
        if not method.server_streaming:
            return [_checked(method, await call)]
        read = [_checked(method, await call.read()) for _ in range(count)]
        call.cancel()
        return read


def _checked(method: MethodDescriptor, raw: bytes) -> Any:
    assert list(repeated_messages(method.output_type, raw)) == [], method.name
    return GetMessageClass(method.output_type)().FromString(raw)


@pytest.mark.guarantee("3e.5")
async def test_answers_and_watch_messages_have_each_message_once(
    start_server: StartServer, connect: Callable[[Server], Api], kind: str
):
    server = start_server()
    caller = Caller(connect(server).channel)
    created = await caller("CreateJob", kind=kind, item_count=3, chunk_size=1, input={"a": 1}, labels={"l": "v"})
    job_id, start = created.job.job_id, created.job.revision
    [listed] = (page := await caller("ListJobs", filter={"kinds": [kind]}, view="JOB_VIEW_FULL")).jobs
    assert listed.revision == start
    claimed = await caller("ClaimChunks", kinds=[kind], worker="wire")
    [chunk] = claimed.chunks
    report = {"lease_token": chunk.lease.token, "progress": {"items_completed": 1, **ARTIFACTS}}
    await caller("Heartbeat", reports=[report])
    completion = {"lease_token": chunk.lease.token, "output": {"n": 1}, "progress": ARTIFACTS}
    await caller("CompleteChunks", completions=[completion], claim={"kinds": [kind], "worker": "wire"})
    await caller("GetJob", job_id=job_id, view="JOB_VIEW_FULL")
    await caller("BatchGetJobs", job_ids=[job_id], view="JOB_VIEW_FULL")
    await caller("BatchCreateJobs", requests=[{"kind": kind, "input": {"a": 1}}, {"kind": kind}])
    await caller("ListChunks", job_id=job_id)
    await caller("ListAttempts", job_id=job_id)
    await caller("ListEvents", job_id=job_id)
    [snapshot] = await caller.messages("WatchJob", 1, job_id=job_id)
    assert snapshot.job.artifacts
    assert len(snapshot.job.chunks) == 3
    [of_all] = await caller.messages("WatchJobs", 1, filter={"job_ids": [job_id]})
    assert of_all.job.artifacts
    await check_watches(caller, job_id, page.cursor)
    server.stop()
    server.start()
    await check_watches(Caller(connect(server).channel), job_id, page.cursor)  # what is read from the database


async def check_watches(caller: Caller, job_id: str, cursor: bytes) -> None:
    for view in "JOB_VIEW_UNSPECIFIED", "JOB_VIEW_STATUS":
        for method, chosen in ("WatchJob", {"job_id": job_id}), ("WatchJobs", {"filter": {"job_ids": [job_id]}}):
            every = {"cursor": cursor, "mode": "WATCH_MODE_EVERY", "view": view}
            changed = await caller.messages(method, 3, **chosen, **every)
            assert all(message.event.changes and message.event.position for message in changed)
            assert bool(changed[-1].job.artifacts) == (view == "JOB_VIEW_UNSPECIFIED")
