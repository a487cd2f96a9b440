"""Messages of the contract as values of the model."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import chunk_pb2, job_pb2

from jobledger_service.core.model.chunk import Artifact, WorkError
from jobledger_service.core.model.job import Counts, Job, JobProgress, JobSpec, StageTiming

from .convert import JOB_STATES_BY_NUMBER, MICROS


def _micros(time: Timestamp | Duration) -> int:
    return time.seconds * MICROS + time.nanos // 1_000


def _time(message: job_pb2.Job | job_pb2.StageTiming, name: str) -> int | None:
    return _micros(getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type] # a literal


def shown_job(message: job_pb2.Job) -> Job:
    """Return the job of a message in view BASIC, without what the view omits: sums of work, the rate.

    Policies and the plan are left out too.
    """
    progress, counts = message.progress, message.chunks_summary
    return Job(
        spec=JobSpec(message.owner, message.job_id, message.kind, b"", _micros(message.create_time)),
        progress=JobProgress(
            work_total=0,
            items_total=progress.items_total,
            items_completed=progress.items_completed,
            percent=progress.percent,
            stage=progress.stage,
            stage_percent=progress.stage_percent if progress.HasField("stage_percent") else None,
            message=progress.message,
        ),
        counts=Counts(counts.pending, counts.processing, counts.completed, counts.failed, counts.cancelled),
        update_time=_micros(message.update_time),
        display_name=message.display_name,
        priority=message.priority,
        labels=dict(message.labels),
        state=JOB_STATES_BY_NUMBER[message.state],
        revision=message.revision,
        retry_count=message.retry_count,
        stage_timings=tuple(map(_timing, message.stage_timings)),
        artifacts={name: _artifact(message.artifacts[name]) for name in message.artifacts},
        declared_result=message.result_uri,
        first_failure=_error(message.error) if message.HasField("error") else None,
        cancel_reason=message.cancel_reason,
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        expire_time=_time(message, "expire_time"),
    )


def _timing(message: job_pb2.StageTiming) -> StageTiming:
    return StageTiming(
        message.stage, _micros(message.duration), _micros(message.start_time), _time(message, "end_time")
    )


def _artifact(message: chunk_pb2.Artifact) -> Artifact:
    return Artifact(
        uri=message.uri,
        content_type=message.content_type,
        size_bytes=message.size_bytes if message.HasField("size_bytes") else None,
        metadata=message.metadata.SerializeToString() if message.HasField("metadata") else None,
        create_time=_micros(message.create_time),
    )


def _error(message: chunk_pb2.WorkError) -> WorkError:
    index = message.chunk_index if message.HasField("chunk_index") else None
    return WorkError(message.code, message.message, message.stage, index)


def struct_content(raw: bytes | None) -> dict[str, Any]:
    """Return the names and JSON values of an encoded Struct."""
    return json_format.MessageToDict(Struct.FromString(raw or b""))
