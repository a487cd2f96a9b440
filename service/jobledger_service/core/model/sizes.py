"""The encoded size of a change, estimated from above and closely."""

from collections.abc import Mapping
from typing import Final

from .change import Change
from .chunk import Artifacts, Chunk, WorkError
from .job import Job

_TAGS: Final = 4
"""Bytes for the tag and the length of a text."""
_TIME: Final = 16
_JOB: Final = 400
"""Numbers, times and tags of a job; of a chunk and a change likewise."""
_CHUNK: Final = 220
_CHANGE: Final = 32
RANGE: Final = 16


def _text(text: str) -> int:
    return _TAGS + (len(text) if text.isascii() else len(text.encode()))


def bytes_of_artifacts(artifacts: Artifacts) -> int:
    """Return the bytes of artifacts."""
    if not artifacts:
        return 0
    return sum(
        _text(name) + _text(one.uri) + _text(one.content_type) + len(one.metadata or b"") + 3 * _TIME
        for name, one in artifacts.items()
    )


def _error(error: WorkError | None) -> int:
    return 0 if error is None else _text(error.code) + _text(error.message) + _text(error.stage) + _TIME


def bytes_of_chunk(chunk: Chunk) -> int:
    """Return the bytes of a chunk."""
    progress = chunk.progress
    texts = _text(chunk.worker) + _text(chunk.task_id) + _text(progress.stage) + _text(progress.message)
    return _CHUNK + texts + _error(chunk.error) + bytes_of_artifacts(chunk.artifacts)


def bytes_of_change(change: Change) -> int:
    """Return the bytes of a change's entry."""
    return _CHANGE + _text(change.actor) + _text(change.reason)


def bytes_of_job(job: Job) -> int:
    """Return the bytes of a job in view BASIC, with those of its event."""
    spec, progress = job.spec, job.progress
    size = _JOB + 2 * (_text(spec.job_id) + _text(spec.owner)) + _text(spec.kind) + _text(job.parked_for)
    size += _text(job.display_name) + _text(job.cancel_reason) + _text(job.declared_result)
    size += _text(progress.stage) + _text(progress.message) + _error(job.error)
    size += _labels(job.labels) + bytes_of_artifacts(job.artifacts)
    size += sum(_text(stage.name) + _TIME for stage in spec.stages)
    return size + sum(_text(timing.stage) + 4 * _TIME for timing in job.stage_timings)


def _labels(labels: Mapping[str, str]) -> int:
    return sum(_TAGS + _text(name) + _text(value) for name, value in labels.items())
