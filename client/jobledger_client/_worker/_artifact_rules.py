"""The service's rules for reports, checked before a handler's report is sent."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from google.protobuf.struct_pb2 import Struct
from jobledger.v1.chunk_pb2 import Artifact

from jobledger_client._structs import MAX_INTEGER, check_encodable

MAX_CHUNK_ARTIFACTS = 50
MAX_JOB_ARTIFACTS = 100
MAX_CHUNK_ARTIFACT_BYTES = 256 * 1024
MAX_JOB_ARTIFACT_BYTES = 512 * 1024
MAX_OUTPUT_BYTES = 64 * 1024
MAX_CHECKPOINT_BYTES = 4 * 1024
MAX_STAGE_LENGTH = 128

_MAX_NAME_LENGTH = 128
_MAX_URI_LENGTH = 2_048
_MAX_CONTENT_TYPE_LENGTH = 255
_MAX_METADATA_BYTES = 4 * 1024
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")
_MAX_QUOTED_LENGTH = 60


def check_artifact(name: str, artifact: Artifact, schemes: Collection[str]) -> None:
    """Raise ValueError for an artifact that the service would refuse."""
    check_text("name", name, _MAX_NAME_LENGTH, min_length=1)
    check_uri(artifact.uri, schemes)
    check_text("content_type", artifact.content_type, _MAX_CONTENT_TYPE_LENGTH)
    if not 0 <= artifact.size_bytes <= MAX_INTEGER:
        raise ValueError(f"size_bytes must be 0 to 2**53; got {artifact.size_bytes}")
    size = artifact.metadata.ByteSize()
    if size > _MAX_METADATA_BYTES:
        raise ValueError(f"metadata must have at most {_MAX_METADATA_BYTES} bytes encoded; got {size}")


def check_struct(name: str, values: Struct, max_bytes: int) -> None:
    """Raise ValueError for values that are too large."""
    if (size := values.ByteSize()) > max_bytes:
        raise ValueError(f"{name} must have at most {max_bytes} bytes encoded; got {size}")


def artifact_bytes(name: str, artifact: Artifact) -> int:
    """Return the size of an artifact as the service counts it: its texts, its metadata, and 60 for the rest."""
    texts = (name, artifact.uri, artifact.content_type)
    return sum(len(text.encode()) for text in texts) + artifact.metadata.ByteSize() + 60


def check_uri(uri: str, schemes: Collection[str]) -> None:
    """Raise ValueError for a URI that the service would refuse; `schemes` are those that its operator allows."""
    check_text("uri", uri, _MAX_URI_LENGTH, min_length=1)
    parts = urlsplit(uri)
    if "://" not in uri:
        raise ValueError(f"uri must have a scheme, such as s3://bucket/key or https://host/path; got {_quote(uri)}")
    if schemes and parts.scheme not in schemes:
        raise ValueError(f"uri must have one of the schemes {', '.join(schemes)}; got {_quote(uri)}")
    if _UNSAFE.search(uri) or not (parts.netloc or parts.scheme == "file"):
        raise ValueError(f"uri must name a host or bucket, without spaces and backslashes; got {_quote(uri)}")


def check_text(name: str, value: str, max_length: int, min_length: int = 0) -> None:
    """Raise ValueError for a text that is too long or too short, or has a character that the service refuses."""
    if not min_length <= len(value) <= max_length:
        raise ValueError(f"{name} must have {min_length} to {max_length} characters; got {len(value)}")
    if "\x00" in value:
        raise ValueError(f"{name} must have no NUL character; got {_quote(value)}")
    check_encodable(value, name)


def _quote(value: str) -> str:
    return repr(value if len(value) <= _MAX_QUOTED_LENGTH else value[:_MAX_QUOTED_LENGTH] + "…")
