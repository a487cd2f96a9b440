"""The encoded size of a change, estimated from above and closely."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from jobledger_service.core.model.chunk import Artifacts, Chunk, WorkError
from jobledger_service.core.model.fields import CHUNK_FIELDS, JOB_FIELDS, Field, Kept, type_of
from jobledger_service.core.model.history.change import Change
from jobledger_service.core.model.job import Job

_TAGS: Final = 4
"""Bytes for the tag and the length of a text."""
_TIME: Final = 16
_JOB: Final = 400
"""Numbers, times and tags of a job; of a chunk and a change likewise."""
_CHUNK: Final = 220
_CHANGE: Final = 32
RANGE: Final = 16


def _texts(*texts: str) -> int:
    joined = "".join(texts)
    return _TAGS * len(texts) + (len(joined) if joined.isascii() else len(joined.encode()))


def _texts_of(type_: type, fields: Sequence[Field]) -> Callable[[Any], tuple[str, ...]]:
    """Return the function that returns all texts of a value, without its key."""
    kept = [field.path for field in fields if field.kept not in (Kept.KEY, Kept.COMPUTED)]
    return attrgetter(*(path for path in kept if type_of(type_, path) is str))


_job_texts: Final = _texts_of(Job, JOB_FIELDS)
_chunk_texts: Final = _texts_of(Chunk, CHUNK_FIELDS)


def bytes_of_artifacts(artifacts: Artifacts) -> int:
    """Return the bytes of artifacts."""
    if not artifacts:
        return 0
    return sum(
        _texts(name, artifact.uri, artifact.content_type) + len(artifact.metadata or b"") + 3 * _TIME
        for name, artifact in artifacts.items()
    )


def _error(error: WorkError | None) -> int:
    return 0 if error is None else _texts(error.code, error.message, error.stage) + _TIME


def bytes_of_chunk(chunk: Chunk) -> int:
    """Return the bytes of a chunk."""
    return _CHUNK + _texts(*_chunk_texts(chunk)) + _error(chunk.error) + bytes_of_artifacts(chunk.artifacts)


def bytes_of_change(change: Change) -> int:
    """Return the bytes of a change's entry."""
    return _CHANGE + _texts(change.actor, change.reason, change.task_id)


def bytes_of_job(job: Job) -> int:
    """Return the bytes of a job in view BASIC, with those of its event."""
    spec = job.spec
    size = _JOB + _texts(*_job_texts(job), spec.job_id, spec.owner) + _error(job.error)
    size += _labels(job.labels) + bytes_of_artifacts(job.artifacts)
    size += _texts(*(stage.name for stage in spec.stages)) + _TIME * len(spec.stages)
    return size + _texts(*(timing.stage for timing in job.stage_timings)) + 4 * _TIME * len(job.stage_timings)


def _labels(labels: Mapping[str, str]) -> int:
    return _TAGS * len(labels) + _texts(*labels, *labels.values())
