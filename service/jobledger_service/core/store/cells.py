"""Values that are stored as text in one column: values of the model to JSON, and back."""

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import json

from jobledger_service.core.model.chunk import NO_ARTIFACTS, Artifact, Artifacts, WorkError
from jobledger_service.core.model.job import NO_LABELS, Stage, StageTiming
from jobledger_service.core.model.retry import RetryPolicy

Row = dict[str, Any]


class UnreadableJson:
    """Stands for what a column of JSON holds that is no JSON. Reading a row with it fails, and fetching does not."""


def read_json(text: str | bytes) -> Any:  # noqa: ANN401  any value of JSON
    """Return the value of a column of JSON."""
    try:
        return json.decode(text)
    except ValueError:
        return UnreadableJson()


def labels_of(value: Any) -> Mapping[str, str]:  # noqa: ANN401  any value of JSON
    """Return the labels of a cell, none for NULL; raises ValueError for what are no labels."""
    if value is None:
        return NO_LABELS
    if not isinstance(value, dict):
        raise ValueError("the labels are no JSON object")  # noqa: TRY004  of a row, not of a program
    return value


def json_text(value: object) -> str:
    """Return a value as JSON without spaces."""
    return json.encode(value).decode()


@lru_cache(maxsize=1_024)
def policy_of(text: str) -> RetryPolicy:
    """Return the retry policy of a cell."""
    return RetryPolicy(*json.decode(text))


@lru_cache(maxsize=1_024)
def policy_text(policy: RetryPolicy) -> str:
    """Return the cell of a retry policy."""
    return json_text(
        [policy.max_attempts, policy.initial_backoff, policy.multiplier, policy.max_backoff, policy.jitter]
    )


@lru_cache(maxsize=1_024)
def stages_of(text: str | None) -> tuple[Stage, ...]:
    """Return the declared stages of a cell, none for NULL."""
    return tuple(Stage(name, weight) for name, weight in json.decode(text)) if text else ()


def stages_text(stages: Sequence[Stage]) -> str | None:
    """Return the cell of the declared stages, NULL for none."""
    return json_text([[stage.name, stage.weight] for stage in stages]) if stages else None


def timings_of(text: str | None) -> tuple[StageTiming, ...]:
    """Return the timings of stages of a cell, none for NULL."""
    return tuple(StageTiming(*values) for values in json.decode(text)) if text else ()


def timings_text(timings: Sequence[StageTiming]) -> str | None:
    """Return the cell of the timings of stages, NULL for none."""
    return json_text([[t.stage, t.duration, t.start_time, t.end_time] for t in timings]) if timings else None


def error_of(text: str | None) -> WorkError | None:
    """Return the error of a cell, None for NULL."""
    return WorkError(*json.decode(text)) if text else None


def error_text(error: WorkError | None) -> str | None:
    """Return the cell of an error, NULL for None."""
    return json_text([error.code, error.message, error.stage, error.chunk_index]) if error else None


def artifacts_of(text: str | None) -> Artifacts:
    """Return the artifacts of a cell, by name, none for NULL."""
    if not text:
        return NO_ARTIFACTS
    return {
        name: Artifact(uri, content_type, size, None if raw is None else base64.b64decode(raw), create_time)
        for name, (uri, content_type, size, raw, create_time) in json.decode(text).items()
    }


def artifacts_text(artifacts: Artifacts) -> str | None:
    """Return the cell of artifacts, NULL for none."""
    if not artifacts:
        return None
    return json_text({name: _artifact_values(artifact) for name, artifact in artifacts.items()})


def _artifact_values(artifact: Artifact) -> list[object]:
    metadata = None if artifact.metadata is None else base64.b64encode(artifact.metadata).decode()
    return [artifact.uri, artifact.content_type, artifact.size_bytes, metadata, artifact.create_time]
