"""Records what a client asks and what comes of it: a wrapper of one channel that writes a line for each step."""

import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from hashlib import blake2s
from pathlib import Path
from typing import Any
from zlib import crc32

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.job_service_pb2 import WatchMessageType

from tests.fuzz.findings import told, words_of
from tests.support.errors import read

SERVICES = ("JobService", "WorkerService", "LimitService", "AdminService", "WebhookService", "ImportService")
OMITTED = {
    "input", "job_input", "stages", "stage_timings", "retry_policy", "etag", "eta", "items_per_second", "traceparent",
    "artifact_schemes", "holds",
}  # fmt: skip
"""Fields that no check needs."""
BRIEF = {
    "Job": {"job_id", "uid", "owner", "kind", "state", "revision"},
    "JobEvent": {"job_id", "owner", "position", "revision"},
    "Attempt": {"chunk_index", "number", "outcome"},
}
"""What of jobs, events and attempts is recorded in answers; the ledger in the end has the rest."""
PREFIXES = (
    "JOB_STATE_", "CHUNK_STATE_", "WATCH_MESSAGE_TYPE_", "CHANGE_TYPE_", "LEASE_STATUS_", "ATTEMPT_OUTCOME_",
    "WATCH_MODE_", "CANCEL_OUTCOME_", "JOB_VIEW_",
)  # fmt: skip
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50),
           ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 300),
           ("grpc.max_receive_message_length", -1)]  # fmt: skip


def plain(message: Message, *, brief: bool = False) -> dict[str, Any]:
    """Return a message as JSON can hold it: names of enums without prefix, times in microseconds, bytes as a digest.

    In a brief one jobs and events have only what names them and their state.
    """
    if message.DESCRIPTOR.full_name == "google.protobuf.Struct":
        return MessageToDict(message)
    names = BRIEF.get(message.DESCRIPTOR.name) if brief else None
    return {
        field.name: _plain_field(field, value, brief)
        for field, value in message.ListFields()
        if field.name not in OMITTED and (names is None or field.name in names)
    }


def _plain_field(field: FieldDescriptor, value: Any, brief: bool) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {key: _plain_value(entry, value[key], brief) for key in value}
    if field.is_repeated:
        return [_plain_value(field, item, brief) for item in value]
    return _plain_value(field, value, brief)


def _plain_value(field: FieldDescriptor, value: Any, brief: bool) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            return value.seconds * 1_000_000 + value.nanos // 1_000
        return plain(value, brief=brief)
    if field.enum_type is not None:
        name = field.enum_type.values_by_number[value].name
        return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
    return blake2s(value, digest_size=8).hexdigest() if isinstance(value, bytes) else value


def plain_message(message: Any) -> dict[str, Any]:
    """Return what of a message of a watch is recorded, without what it does not have."""
    fields: dict[str, Any] = {"type": WatchMessageType.Name(message.type).removeprefix("WATCH_MESSAGE_TYPE_")}
    if message.cursor:
        fields["cursor"] = blake2s(message.cursor, digest_size=8).hexdigest()
    if message.HasField("job"):
        job = message.job
        fields |= {"uid": job.uid, "owner": job.owner, "kind": job.kind, "revision": job.revision}
        fields["state"] = JobState.Name(job.state).removeprefix("JOB_STATE_")
    if message.HasField("event"):
        committed = message.event.commit_time
        fields |= {"position": message.event.position, "digest": digest_of(message)}
        fields["commit_time"] = committed.seconds * 1_000_000 + committed.nanos // 1_000
    if message.merged_revision_count:
        fields["merged"] = message.merged_revision_count
    return fields


def digest_of(message: Any) -> int:
    """Return a digest of an event and of the chunks that it changed."""
    parts = (message.event, *message.chunks, *message.chunk_ranges)
    return crc32(b"".join(part.SerializeToString(deterministic=True) for part in parts))


class HistoryWriter:
    """Appends lines to one file, each with one write: what a killed process has written is whole."""

    _numbers = itertools.count()

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.calls = 0

    def write(self, record: str, **fields: object) -> None:
        """Append one line."""
        os.write(self._file, (json.dumps({"record": record, "time": time.monotonic(), **fields}) + "\n").encode())

    def next_id(self) -> str:
        """Return an id that no other call of the run has."""
        self.calls += 1
        return f"{os.getpid()}-{next(self._numbers)}"

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def methods() -> dict[str, MethodDescriptor]:
    """Return the methods of the contract by name."""
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(f"jobledger.v1.{name}") for name in SERVICES]
    return {method.name: method for service in services for method in service.methods}


class RecordedClient:
    """The services as one key's holder calls them, with everything recorded."""

    def __init__(
        self,
        target: str,
        token: str,
        owner: str,
        name: str,
        writer: HistoryWriter,
        secrets: Collection[bytes] = (),
        observe: Callable[[Message], None] = lambda _: None,
    ) -> None:
        """`secrets` are texts of other owners: an answer that has one is recorded as a leak; `observe` gets answers."""
        self.owner, self.name = owner, name
        self.target = target
        self._writer = writer
        self._secrets = secrets
        self._observe = observe
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._methods = methods()
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)

    async def move(self, target: str) -> None:
        """Go to another server."""
        if target != self.target:
            left = self._channel
            self.target, self._channel = target, grpc.aio.insecure_channel(target, options=OPTIONS)
            await left.close()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def call(self, method: str, request: Message, timeout: float = 10) -> Any:  # noqa: ASYNC109
        """Make a call; raises grpc.aio.AioRpcError as it ended."""
        call_id = self._begin(method, request)
        try:
            response = await self._channel.unary_unary(*self._form(method))(
                request, metadata=self._metadata, timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            self._end(call_id, error)
            raise
        self._end(call_id, None, response)
        self._observe(response)
        return response

    async def stream(self, method: str, request: Message, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
        """Yield the messages of a stream; raises grpc.aio.AioRpcError as it ended, and ends after OK."""
        call_id = self._begin(method, request)
        call = self._channel.unary_stream(*self._form(method))(request, metadata=self._metadata, timeout=timeout)
        code = "CANCELLED"
        try:
            async for message in call:
                for part in (message, *getattr(message, "following", ())):
                    self._message(call_id, part)
                    self._observe(part)
                    yield part
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = ""
            self._end(call_id, error)
            raise
        finally:
            if code:
                call.cancel()
                self._writer.write("end", call_id=call_id, code=code, reason="", response={})

    def _form(self, method: str) -> Sequence[Any]:
        known = self._methods[method]
        reply = GetMessageClass(known.output_type)
        return (
            f"/{known.containing_service.full_name}/{method}",
            GetMessageClass(known.input_type).SerializeToString,
            reply.FromString,
        )

    def _begin(self, method: str, request: Message) -> str:
        call_id = self._writer.next_id()
        fields = plain(request)
        self._writer.write("call", call_id=call_id, owner=self.owner, client=self.name, method=method, request=fields)
        return call_id

    def _message(self, call_id: str, message: Message) -> None:
        fields = plain_message(message) if "merged_revision_count" in message.DESCRIPTOR.fields_by_name else {}
        if told(message.SerializeToString(), self._secrets):
            fields["leak"] = True
        self._writer.write("message", call_id=call_id, **fields)

    def _end(self, call_id: str, error: grpc.aio.AioRpcError | None, response: Message | None = None) -> None:
        code, reason, fields = "OK", "", {}
        if error is not None:
            code, reason = error.code().name, _reason(error)
            leaks = told(words_of(error), self._secrets)
        elif response is not None:
            fields, leaks = plain(response, brief=True), told(response.SerializeToString(), self._secrets)
        if leaks:
            fields["leak"] = True
        self._writer.write("end", call_id=call_id, code=code, reason=reason, response=fields)


def _reason(error: grpc.aio.AioRpcError) -> str:
    try:
        return read(error).reason
    except AssertionError:
        return ""  # the client's own, as for a connection that broke
