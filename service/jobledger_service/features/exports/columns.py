"""The columns of an export: their names, and what each takes from a job."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.job_pb2 import Job, StageTiming
from msgspec import to_builtins

from jobledger_service.core.api import convert
from jobledger_service.core.model.job import job_id_of, owner_of
from jobledger_service.core.model.limits import MAX_TIME, SECOND

from .page import ExportKey

Value = Any
"""What JSON can say: text, a number, None where there is nothing, or a list or mapping of these, in a fixed order."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  times are in UTC throughout

MAX_ERROR_LENGTH: Final = 300

COLUMNS: Final = (
    "job_id",
    "owner",
    "kind",
    "display_name",
    "state",
    "priority",
    "percent",
    "stage",
    "stage_percent",
    "message",
    "items_completed",
    "items_total",
    "chunks_total",
    "chunks_pending",
    "chunks_processing",
    "chunks_completed",
    "chunks_failed",
    "chunks_cancelled",
    "labels",
    "create_time",
    "start_time",
    "update_time",
    "end_time",
    "expire_time",
    "waiting_seconds",
    "processing_seconds",
    "stage_timings",
    "retry_count",
    "result_uri",
    "artifacts",
    "error_code",
    "error_message",
    "error_stage",
    "error_chunk_index",
    "cancel_reason",
    "revision",
    "export_error",
)
"""All columns, in the order in which they are written when none are named."""

STRUCTURED: Final = frozenset({"labels", "stage_timings", "artifacts"})
"""Columns that hold a list or a mapping."""

FOREIGN: Final = frozenset(
    {
        "owner",
        "kind",
        "display_name",
        "stage",
        "message",
        "result_uri",
        "error_code",
        "error_message",
        "error_stage",
        "cancel_reason",
        "export_error",
    }
)
"""Columns that contain text of callers and workers."""


def values(job: Job) -> Sequence[Value]:
    """Return what all columns hold, in their order, of a job in view BASIC."""
    progress, chunks, error = job.progress, job.chunks_summary, job.error if job.HasField("error") else None
    created, started, ended = (_micros(job, name) for name in ("create_time", "start_time", "end_time"))
    return (
        job.job_id,
        job.owner,
        job.kind,
        job.display_name,
        convert.JOB_STATES_BY_NUMBER[job.state].value,
        job.priority,
        progress.percent,
        progress.stage,
        _given(progress, "stage_percent"),
        progress.message,
        progress.items_completed,
        progress.items_total,
        chunks.total,
        chunks.pending,
        chunks.processing,
        chunks.completed,
        chunks.failed,
        chunks.cancelled,
        dict(sorted(job.labels.items())),
        _when(created),
        _when(started),
        _when(_micros(job, "update_time")),
        _when(ended),
        _when(_micros(job, "expire_time")),
        # When a later run began to wait is not kept with the job.
        None if job.retry_count else _seconds(created, started),
        _seconds(started, ended),
        [_timing(timing) for timing in job.stage_timings],
        job.retry_count,
        job.result_uri,
        {name: _artifact(job.artifacts[name]) for name in sorted(job.artifacts)},
        error and error.code,
        error and error.message,
        error and error.stage,
        error and _given(error, "chunk_index"),
        job.cancel_reason,
        job.revision,
        None,
    )


def unreadable_values(place: ExportKey, error: Exception) -> Sequence[Value]:
    """Return the values of all columns for a job that cannot be shown: its known fields, and the reason."""
    known = {
        "job_id": job_id_of(place.job_key),
        "owner": owner_of(place.job_key),
        "create_time": _when(min(max(place.create_time, 0), MAX_TIME)),
        "export_error": f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH],
    }
    return [known.get(name) for name in COLUMNS]


def _when(micros: int | None) -> str | None:
    """Return a time as RFC 3339 has it, in UTC, with six digits of the second, so that texts sort as times do."""
    if micros is None:
        return None
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds") + "Z"


def _seconds(since: int | None, until: int | None) -> float | None:
    return None if since is None or until is None else (until - since) / SECOND


def _given(message: Any, name: str) -> Any:  # noqa: ANN401  any message with optional fields
    return getattr(message, name) if message.HasField(name) else None


def _micros(message: Any, name: str) -> int | None:  # noqa: ANN401  any message with times
    time = _given(message, name)
    return None if time is None else time.seconds * SECOND + time.nanos // 1_000


def _timing(timing: StageTiming) -> Value:
    return {
        "stage": timing.stage,
        "seconds": (timing.duration.seconds * SECOND + timing.duration.nanos // 1_000) / SECOND,
        "start_time": _when(_micros(timing, "start_time")),
        "end_time": _when(_micros(timing, "end_time")),
    }


def _artifact(artifact: Artifact) -> Value:
    metadata = _given(artifact, "metadata")
    return {
        "uri": artifact.uri,
        "content_type": artifact.content_type,
        "size_bytes": _given(artifact, "size_bytes"),
        "metadata": None if metadata is None else to_builtins(MessageToDict(metadata), order="deterministic"),
        "create_time": _when(_micros(artifact, "create_time")),
    }
