"""Jobs in replies: joined from what the store has encoded, so that no message is built from a row.

Replies that show one job, and lists of jobs, have them in field 1: the same bytes are a part of each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from google.protobuf.message import Message
from jobledger.v1 import chunk_pb2, job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.database.rows.reads import JobRead
from jobledger_service.transport.encoding.joined import field

from . import convert
from .unreadable import check_job

_JOB: Final = api.GetJobResponse.DESCRIPTOR.fields_by_name["job"]
_STATUS: Final[Mapping[type[Message], str]] = {
    job_pb2.Job: "owner job_id uid kind display_name state revision update_time progress result_uri error"
    " chunks_summary holds",
    job_pb2.Progress: "percent stage stage_percent eta",
    chunk_pb2.WorkError: "code",
}
"""The fields of a job, of its progress and of its error that view STATUS shows."""
_NOT_IN_STATUS: Final[Mapping[type[Message], Sequence[Any]]] = {
    message: [name for name in message.DESCRIPTOR.fields_by_name if name not in shown.split()]
    for message, shown in _STATUS.items()
}
_INPUT: Final = job_pb2.Job.DESCRIPTOR.fields_by_name["input"]
_OUTPUT: Final = job_pb2.Job.DESCRIPTOR.fields_by_name["output"]

_PAUSED: Final = job_pb2.Job(holds=[job_pb2.Hold(reason=chunk_pb2.HOLD_REASON_PAUSED)]).SerializeToString()
"""Adds the hold of a paused kind to an encoded job."""


def job_field(read: JobRead) -> bytes:
    """Return a job with what was read of it as field 1 of a reply; raises ValueError, DecodeError for a damaged one."""
    part = field(_JOB, _joined(read))
    _decoded(part, read)
    return part


def shown_job_field(read: JobRead) -> bytes:
    """Return a job, that JSON can represent too, as field 1 of a reply; raises ValueError, DecodeError for another."""
    part = field(_JOB, _joined(read))
    check_job(_decoded(part, read), read)
    return part


def status(read: JobRead) -> job_pb2.Job:
    """Return a job in view STATUS; raises ValueError, DecodeError for a damaged one."""
    job = _checked(job_pb2.Job.FromString(read.message + _PAUSED * read.paused), read)
    trim_to_status(job)
    return job


def trim_to_status(job: job_pb2.Job) -> None:
    """Clear what view STATUS does not show."""
    for message in (job, job.progress, *([job.error] if job.HasField("error") else ())):
        for name in _NOT_IN_STATUS[type(message)]:
            message.ClearField(name)


def status_field(read: JobRead) -> bytes:
    """Return a job in view STATUS as field 1 of a reply; raises ValueError, DecodeError for a damaged one."""
    return field(_JOB, status(read).SerializeToString())


def shown_job(read: JobRead) -> tuple[job_pb2.Job, bytes]:
    """Return a job, that JSON can represent too, decoded and encoded; raises ValueError, DecodeError for another."""
    raw = _joined(read)
    job = _decoded(field(_JOB, raw), read)
    check_job(job, read)
    return job, raw


def _joined(read: JobRead) -> bytes:
    raw = read.message if read.place is None else _with_place(read.message, read.place)
    if read.inputs.job is not None:
        raw += field(_INPUT, read.inputs.job)
    if read.outputs.job is not None:
        raw += field(_OUTPUT, read.outputs.job)
    raw += _PAUSED * read.paused
    if read.chunks or read.next_chunks or read.attempts:
        raw += _rest(read).SerializeToString()
    return raw


def _with_place(raw: bytes, place: int) -> bytes:
    """Return an encoded job with its place in its hold by a limit: an element of a list cannot be appended to."""
    job = job_pb2.Job.FromString(raw)
    for hold in job.holds:
        if hold.reason == chunk_pb2.HOLD_REASON_LIMIT:
            hold.place = place
    return job.SerializeToString()


def _rest(read: JobRead) -> job_pb2.Job:
    """Return what no segment has."""
    rest = job_pb2.Job(next_chunks_page_token=read.next_chunks)
    for attempt in read.attempts:
        convert.fill_attempt(rest.attempts.add(), attempt)
    inputs, outputs = read.inputs.chunks, read.outputs.chunks
    for chunk in read.chunks:
        message = rest.chunks.add()
        convert.fill_chunk(message, chunk, inputs.get(chunk.index), outputs.get(chunk.index))
        if read.paused:
            show_pause(message)
    return rest


def show_pause(chunk: chunk_pb2.Chunk) -> None:
    """Add the hold of a paused kind to a chunk, if it waits."""
    if chunk.state == chunk_pb2.CHUNK_STATE_PENDING:
        chunk.holds.append(chunk_pb2.HOLD_REASON_PAUSED)


def _decoded(reply: bytes, read: JobRead) -> job_pb2.Job:
    """Return the job of a reply, decoded as a client decodes it; it is the only check of what is stored."""
    return _checked(api.GetJobResponse.FromString(reply).job, read)


def _checked(job: job_pb2.Job, read: JobRead) -> job_pb2.Job:
    if (job.job_id, job.revision) != (read.job_id, read.revision):
        raise ValueError(f"the segments are of {job.job_id!r} at revision {job.revision}, not {read.revision}")
    return job


def reply_with(reply: Message, job: bytes | None, name: str = "job") -> bytes:
    """Return an encoded reply with an encoded job, None for none, in a field that the reply does not have yet."""
    raw, fields = reply.SerializeToString(), cast("Any", reply.DESCRIPTOR.fields_by_name)
    return raw if job is None else raw + field(fields[name], job)
