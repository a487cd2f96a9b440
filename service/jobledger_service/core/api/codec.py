"""Watch messages as bytes: an event is encoded once, however many watch it.

The messages of WatchJob and WatchJobs have the same fields, so that one encoding serves both. Encoded messages are put
together without decoding them: appended fields replace single values and add to repeated ones
(https://protobuf.dev/programming-guides/encoding/#last-one-wins). A nested message is written once, as some parsers
(protobufjs) take the last of several and do not merge them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Final, cast

from google.protobuf.message import DecodeError
from jobledger.v1 import chunk_pb2, event_pb2, job_pb2
from jobledger.v1.job_service_pb2 import WatchJobResponse as Message
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMessageType
from jobledger.v1.worker_service_pb2 import WatchLeasesResponse
from msgspec.structs import replace

from jobledger_service.core.database.rows.entry import JOB_ITSELF, ArtifactsKey, Entry, JobSegments
from jobledger_service.core.database.rows.event_terms import EventTerms
from jobledger_service.core.database.rows.reads import EventRow, JobRead
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import CHUNKS_IN_VIEW
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.history.change import ChangeType, JobDelta
from jobledger_service.core.model.job import NO_OUTPUTS, Job, uid_text
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import JobUnreadable
from jobledger_service.core.model.states import ENDED
from jobledger_service.transport.encoding import joined

from . import convert
from .chunk_ranges import ranges_of
from .parse import changed_back, filter_fields
from .shown_jobs import show_pause, shown_job, status, trim_to_status
from .unreadable import check_chunks

# looking a value up in its enum takes a call each time
_DELETED: Final = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
_CHANGE: Final = Message(type=WatchMessageType.WATCH_MESSAGE_TYPE_CHANGED).SerializeToString()
_DELETION: Final = Message(type=_DELETED).SerializeToString()
_LEFT: Final = Message(type=WatchMessageType.WATCH_MESSAGE_TYPE_LEFT).SerializeToString()
_CHUNKS_OMITTED: Final = Message(chunks_omitted=True).SerializeToString()
_PENDING: Final = chunk_pb2.CHUNK_STATE_PENDING
_LIFTING: Final = frozenset({event_pb2.CHANGE_TYPE_SLOT_GRANTED, event_pb2.CHANGE_TYPE_SCHEDULE_REACHED})
"""Changes that make all waiting chunks of a job claimable when nothing else holds them."""

MAX_MESSAGE_BYTES: Final = 3 * 1024 * 1024
"""The maximum size of a watch message: gRPC clients accept 4 MiB by default."""
MAX_BATCH_BYTES: Final = 1024 * 1024
"""The maximum size of the messages of a batch together, if it has more than one."""
MAX_MERGED_BYTES: Final = 2 * 1024 * 1024
"""The size at which merging leaves chunks out; the target of the merge may have as much again."""

_JOB: Final = Message.DESCRIPTOR.fields_by_name["job"]
_FOLLOWING: Final = WatchJobsResponse.DESCRIPTOR.fields_by_name["following"]
_EVENT: Final = Message.DESCRIPTOR.fields_by_name["event"]
_CHUNKS: Final = Message.DESCRIPTOR.fields_by_name["chunks"]
_CURSOR: Final = Message.DESCRIPTOR.fields_by_name["cursor"]
_CHANGES: Final = event_pb2.JobEvent.DESCRIPTOR.fields_by_name["changes"]
_COMMIT_TIME: Final = event_pb2.JobEvent.DESCRIPTOR.fields_by_name["commit_time"]
_POSITION: Final = joined.encode_varint(event_pb2.JobEvent.POSITION_FIELD_NUMBER << 3)
_REVISION: Final = joined.encode_varint(event_pb2.JobEvent.REVISION_FIELD_NUMBER << 3)
"""What comes before these numbers in an encoded event."""
_NOT_IN_STATUS: Final = ("chunks", "chunk_ranges")
_OF_JOB: Final = ("owner", "job_id", "uid")
"""Fields of an event that its job has too: in view STATUS the job alone has them."""
TOO_MANY: Final = CHUNKS_IN_VIEW + 1
"""The chunk_count of chunks that cannot be merged into another message."""

_but_place: Final = attrgetter(*(set(Chunk.__struct_fields__) - {"index", "first_item", "last_item"}))
"""Returns what chunks have in common that were created, claimed or completed together."""


class ProtoCodec:
    """Encodes and decodes the messages that the ledger stores and the feed delivers."""

    def __init__(self, unreadable: UnreadableRows | None = None) -> None:
        self._unreadable = unreadable or UnreadableRows()

    segments = staticmethod(convert.segments)

    def encode(self, delta: JobDelta, segments: JobSegments, *, with_previous: bool = False) -> Entry:
        before, job, (ranged, single) = delta.before, delta.job, ranges_of(delta)
        body = _DELETION if delta.deleted else _CHANGE
        if ranged:
            body += Message(chunk_ranges=ranged).SerializeToString()
        shown = segments.fixed + segments.moving
        encoded = list(_without_artifacts(single))
        changed = b"".join(joined.field(_CHUNKS, chunk) for _, chunk in encoded)
        artifacts = _artifacts_of(delta, segments.artifacts, single)
        chunks, parts = _parts(encoded, shown, body, artifacts) if artifacts else ([changed], [])
        return Entry(
            position=0,
            job_key=job.key,
            revision=job.revision,
            before=None if before is None else FilterFields.of(before),
            after=None if delta.deleted else FilterFields.of(job),
            ended=job.ended,
            stored=changed + joined.field(_JOB, shown) + body,
            event=_event(delta),
            parts=parts,
            artifacts=artifacts,
            chunks=chunks,
            chunk_count=TOO_MANY if ranged else len(single),
            previous=_previous(before) if with_previous and before is not None else None,
            changes=frozenset(change.type for change in delta.changes),
        )

    def seal(self, entry: Entry, position: int, commit_time: Micros, cursor: bytes) -> Entry:
        at = _POSITION + joined.encode_varint(position) + joined.field(_COMMIT_TIME, convert.encoded_time(commit_time))
        end = joined.field(_EVENT, entry.event + at) + joined.field(_CURSOR, cursor)
        parts = (*entry.parts, end) if entry.parts else ()
        return replace(entry, position=position, stored=entry.stored + end, event=b"", parts=parts)

    def open(self, row: EventRow) -> Entry:
        try:
            return self._entry(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            self._unreadable.add("feed", f"the event at position {row.position}", error)
            return Entry(row.position, row.job_key, 0, None, None, ended=False, stored=b"")

    def _entry(self, row: EventRow) -> Entry:
        message = Message.FromString(row.message)
        job, changes = message.job, tuple([change.type for change in message.event.changes])
        last = filter_fields(job)
        entry = Entry(
            position=row.position,
            job_key=row.job_key,
            revision=job.revision,
            before=None if row.before is None else changed_back(last, row.before),
            after=None if message.type == _DELETED else last,
            ended=last.state in ENDED,
            stored=row.message,
            chunk_count=TOO_MANY if message.chunk_ranges else len(message.chunks),
            ready=_ready(message, changes),
            changes=_change_types(changes),
        )
        if not row.artifacts:
            return entry
        artifacts = _complete_artifacts(row)
        chunks, parts = _parts_of(message, artifacts)
        Message.FromString(b"".join(parts))  # artifacts that cannot be read are found here
        return replace(entry, artifacts=artifacts, chunks=chunks, parts=parts)

    def message(self, entry: Entry, *, status: bool = False) -> bytes:
        if not status:
            return entry.message
        if not entry.statuses:
            entry.statuses.append(_in_status(entry.stored))
        return entry.statuses[0]

    def snapshot(self, read: JobRead, cursor: bytes, *, status: bool = False) -> bytes:
        try:
            return _status_snapshot(read, cursor) if status else _snapshot(read, cursor)
        except Exception as error:
            self._unreadable.add("watch", read.key, error)
            raise JobUnreadable(read.job_id) from error

    def uid(self, read: JobRead) -> str:
        try:
            return job_pb2.Job.FromString(read.message).uid
        except DecodeError as error:
            self._unreadable.add("watch", read.key, error)
            raise JobUnreadable(read.job_id) from error

    def unreadable_jobs(self, job_ids: Sequence[str]) -> bytes:
        kind = WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT
        return WatchJobsResponse(type=kind, unreadable_job_ids=job_ids).SerializeToString()

    def merge(self, latest: Entry, earlier: Sequence[Entry], cursor: bytes = b"", *, status: bool = False) -> bytes:
        message = self.message(latest, status=status)
        if earlier and status:
            message += Message(merged_revision_count=len(earlier)).SerializeToString()
        elif earlier:
            count = latest.chunk_count + sum(entry.chunk_count for entry in earlier)
            parts = [part for entry in earlier for part in entry.chunks or _chunks_of(entry.stored)]
            omitted = count >= TOO_MANY or sum(map(len, parts)) + len(message) > MAX_MERGED_BYTES
            chunks = b"" if omitted else b"".join(parts)
            message = (
                chunks
                + message
                + Message(merged_revision_count=len(earlier), chunks_omitted=omitted).SerializeToString()
            )
        return message + Message(cursor=cursor).SerializeToString() if cursor else message

    def batch(self, messages: Sequence[bytes]) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        for message in messages:
            if parts and size + len(message) > MAX_BATCH_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
            size += len(message)
            parts += (joined.head(_FOLLOWING, len(message)), message) if parts else (message,)
        if parts:
            yield b"".join(parts)

    def as_unmatched(self, message: bytes) -> bytes:
        return message + _LEFT

    def audited(self, position: int, message: bytes) -> bytes | None:
        """Return the audit trail's part of a stored message: the event, the kind of its job, and no mere progress.

        A message that cannot be read has none.
        """
        try:
            whole = Message.FromString(message)
        except DecodeError as error:
            self._unreadable.add("retention", f"the event at position {position}", error)
            return None
        if all(change.type == event_pb2.CHANGE_TYPE_PROGRESSED for change in whole.event.changes):
            return None
        return Message(event=whole.event, job=job_pb2.Job(kind=whole.job.kind)).SerializeToString()

    def terms(self, position: int, message: bytes) -> EventTerms | None:
        """Return what the terms of a stored event are made from; None when it cannot be read."""
        try:
            event = (whole := Message.FromString(message)).event
            changes = [(convert.CHANGE_TYPES_BY_NUMBER[change.type], change.actor) for change in event.changes]
        except (DecodeError, KeyError) as error:
            self._unreadable.add("retention", f"the event at position {position}", error)
            return None
        return EventTerms(position, event.owner, whole.job.kind, changes)

    def bookmark(self, cursor: bytes) -> bytes:
        return Message(type=WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK, cursor=cursor).SerializeToString()

    def stopped_jobs(self, job_ids: Iterable[str], *, check_all: bool) -> bytes:
        """Return a message to a worker, which checks its leases of these jobs, or all of them."""
        return WatchLeasesResponse(job_ids=job_ids, check_all=check_all).SerializeToString()


def _event(delta: JobDelta) -> bytes:
    """Return the event of a job's changes, without its position and the time of its commit."""
    changes = [joined.field(_CHANGES, convert.encoded_change(change)) for change in delta.changes]
    spec = delta.job.spec
    of_job = _event_of(spec.owner, spec.job_id, spec.uid_bytes)
    return b"".join((of_job, _REVISION, joined.encode_varint(delta.job.revision), *changes))


@lru_cache(maxsize=2_048)
def _event_of(owner: str, job_id: str, uid_bytes: bytes) -> bytes:
    """Return what all events of a job have in common."""
    return event_pb2.JobEvent(job_id=job_id, uid=uid_text(uid_bytes), owner=owner).SerializeToString()


def _in_status(stored: bytes) -> bytes:
    """Return a stored message in view STATUS."""
    message = Message.FromString(stored)
    trim_to_status(message.job)
    for shown in _NOT_IN_STATUS:
        message.ClearField(shown)
    for name in _OF_JOB:
        message.event.ClearField(name)
    return message.SerializeToString()


def _status_snapshot(read: JobRead, cursor: bytes) -> bytes:
    kind = WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT
    return Message(type=kind, cursor=cursor, job=status(read)).SerializeToString()


def _snapshot(read: JobRead, cursor: bytes) -> bytes:
    head = Message(type=WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT, cursor=cursor).SerializeToString()
    check_chunks(read.chunks, read.inputs)
    _, job = shown_job(replace(read, chunks=(), next_chunks="", outputs=NO_OUTPUTS))
    parts = [job]
    remaining = MAX_MESSAGE_BYTES - len(head) - len(job)
    omitted = read.more_chunks and len(read.chunks) < CHUNKS_IN_VIEW
    for chunk in read.chunks:
        part = _snapshot_chunk(chunk, read.inputs.chunks.get(chunk.index), is_paused=read.paused)
        remaining -= len(part)
        if remaining < 0:
            omitted = True
            break
        parts.append(part)
    return b"".join((head, joined.head(_JOB, sum(map(len, parts))), *parts, _CHUNKS_OMITTED * omitted))


def _snapshot_chunk(chunk: Chunk, raw: bytes | None, *, is_paused: bool) -> bytes:
    """Return the bytes that append a chunk to an encoded job."""
    job = job_pb2.Job()
    shown = job.chunks.add()
    convert.fill_chunk(shown, chunk, raw)
    if is_paused:
        show_pause(shown)
    return job.SerializeToString()


def whole(row: EventRow) -> bytes:
    """Return the message of a stored event with its artifacts; raises ValueError when the store lacks some."""
    if not row.artifacts:
        return row.message
    _, parts = _parts_of(Message.FromString(row.message), _complete_artifacts(row))
    return b"".join(parts)


def _complete_artifacts(row: EventRow) -> dict[ArtifactsKey, bytes]:
    if None in row.artifacts.values():
        raise ValueError("the store lacks artifacts of the event")
    return cast("dict[ArtifactsKey, bytes]", row.artifacts)


def _artifacts_of(delta: JobDelta, of_job: bytes, listed: Sequence[Chunk]) -> dict[ArtifactsKey, bytes]:
    """Return the artifacts that the message of an entry shows, and those that it changed."""
    job, artifacts = delta.job, {}
    if job.artifacts_revision is not None:
        artifacts[ArtifactsKey(job.key, job.spec.uid_bytes, JOB_ITSELF, job.artifacts_revision)] = of_job
    changed = [chunk for chunk in delta.chunks.values() if chunk.artifacts_revision == job.revision]
    for chunk in chain(listed, changed):
        if chunk.artifacts_revision is not None:
            key = ArtifactsKey(job.key, job.spec.uid_bytes, chunk.index, chunk.artifacts_revision)
            artifacts[key] = convert.encoded_artifacts(chunk_pb2.Chunk(), chunk.artifacts)
    return artifacts


def _parts_of(message: Message, artifacts: Mapping[ArtifactsKey, bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the parts of a stored message, which loses its chunks, and those of them that show the chunks."""
    chunks = [(chunk.index, chunk.SerializeToString()) for chunk in message.chunks]
    job = message.job.SerializeToString()
    message.ClearField("chunks")
    message.ClearField("job")
    return _parts(chunks, job, message.SerializeToString(), artifacts)


def _parts(
    chunks: Iterable[tuple[int, bytes]], job: bytes, body: bytes, artifacts: Mapping[ArtifactsKey, bytes]
) -> tuple[list[bytes], list[bytes]]:
    """Return the parts that show the chunks, and all parts of a message; the body is the last, and has the rest."""
    by_index = {key.chunk_index: raw for key, raw in artifacts.items()}
    of_chunks: list[bytes] = []
    for index, chunk in chunks:
        raw = by_index.get(index, b"")
        of_chunks += (joined.head(_CHUNKS, len(chunk) + len(raw)) + chunk, raw)
    of_job = by_index.get(JOB_ITSELF, b"")
    return of_chunks, [*of_chunks, joined.head(_JOB, len(of_job) + len(job)), of_job, job, body]


def _without_artifacts(chunks: Iterable[Chunk]) -> Iterator[tuple[int, bytes]]:
    """Yield the index of each chunk, and it encoded; one that differs only in its place is the one before, changed."""
    message, known = chunk_pb2.Chunk(), None
    for chunk in chunks:
        common = _but_place(chunk)
        if common == known and chunk.first_item is not None and chunk.last_item is not None:
            message.index, message.first_item, message.last_item = chunk.index, chunk.first_item, chunk.last_item
        else:
            message, known = chunk_pb2.Chunk(), common
            convert.fill_bare_chunk(message, chunk)
        yield chunk.index, message.SerializeToString()


def _previous(job: Job) -> bytes:
    segments = convert.segments(job)
    return joined.field(_JOB, segments.fixed + segments.moving)


@lru_cache
def _change_types(numbers: tuple[int, ...]) -> frozenset[ChangeType]:
    return frozenset(filter(None, map(convert.CHANGE_TYPES_BY_NUMBER.get, numbers)))


def _chunks_of(stored: bytes) -> list[bytes]:
    """Return the parts of a stored message without artifacts that show the chunks."""
    return [Message(chunks=Message.FromString(stored).chunks).SerializeToString()]


def _ready(message: Message, changes: Sequence[int]) -> int:
    if message.job.holds:
        return 0
    if not _LIFTING.isdisjoint(changes):
        return int(message.job.chunks_summary.pending)
    ready = sum([chunk.state == _PENDING and not chunk.holds for chunk in message.chunks])
    for run in message.chunk_ranges:
        ready += (run.state == _PENDING) * (run.last_index - run.first_index + 1)
    return ready
