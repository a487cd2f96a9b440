"""Values that are stored as text in one column: values of the model to JSON, and back."""

import base64
from typing import Any

from msgspec import json

from jobledger_service.core.model.chunk import Artifact, Artifacts

Row = dict[str, Any]


class UnreadableJson:
    """Stands for invalid JSON in a column. Reading a row with it fails, and fetching does not."""


def read_json(text: str | bytes) -> Any:  # noqa: ANN401  any value of JSON
    """Return the value of a column of JSON."""
    try:
        return json.decode(text)
    except ValueError:
        return UnreadableJson()


def json_text(value: object) -> str:
    """Return a value as JSON without spaces."""
    return json.encode(value).decode()


def artifacts_of(text: str | None) -> Artifacts:
    """Return the artifacts of a version, by name; raises ValueError for one that is missing."""
    if text is None:
        raise ValueError("the artifacts are missing")
    return {
        name: Artifact(uri, content_type, size, None if raw is None else base64.b64decode(raw), create_time)
        for name, (uri, content_type, size, raw, create_time) in json.decode(text).items()
    }


def artifacts_text(artifacts: Artifacts) -> str:
    """Return the cell of artifacts."""
    return json_text({name: _artifact_values(artifact) for name, artifact in artifacts.items()})


def _artifact_values(artifact: Artifact) -> list[object]:
    metadata = None if artifact.metadata is None else base64.b64encode(artifact.metadata).decode()
    return [artifact.uri, artifact.content_type, artifact.size_bytes, metadata, artifact.create_time]
