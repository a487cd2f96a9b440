"""Replies about many jobs or chunks: one that cannot be shown is left out and named."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from jobledger.v1 import job_pb2

from jobledger_service.core.database.rows.reads import JobRead
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.chunk import Artifacts, Chunk
from jobledger_service.core.model.job import NO_OUTPUTS, Inputs, Outputs
from jobledger_service.transport.encoding.structs import check_shown

Name = TypeVar("Name", str, int)
Value = TypeVar("Value")
Part = TypeVar("Part")


def encode_each(
    values: Iterable[tuple[Name, Value]], encode: Callable[[Value], Part], rows: UnreadableRows, place: str
) -> tuple[list[Part], list[Name]]:
    """Return the named values as parts of a reply, and the names of those that cannot be shown."""
    parts, bad = [], []
    for name, value in values:
        try:
            parts.append(encode(value))
        except Exception as error:  # noqa: BLE001  whatever is wrong with one is wrong with it alone
            rows.add(place, str(name), error)
            bad.append(name)
    return parts, bad


def check_job(job: job_pb2.Job, read: JobRead) -> None:
    """Raise ValueError for a job that JSON or gRPC cannot represent, decoded and as it was read."""
    for name, artifact in job.artifacts.items():
        if artifact.HasField("metadata"):
            check_shown(f"artifacts[{name!r}].metadata", artifact.metadata.SerializeToString())
    check_shown("input", read.inputs.job)
    check_shown("output", read.outputs.job)
    check_chunks(read.chunks, read.inputs, read.outputs)


def check_chunks(chunks: Sequence[Chunk], inputs: Inputs, outputs: Outputs = NO_OUTPUTS) -> None:
    """Raise ValueError for a chunk that JSON or gRPC cannot represent."""
    for chunk in chunks:
        field = f"chunks[{chunk.index}]"
        check_shown(f"{field}.input", inputs.chunks.get(chunk.index))
        check_shown(f"{field}.output", outputs.chunks.get(chunk.index))
        _check_artifacts(f"{field}.artifacts", chunk.artifacts)


def _check_artifacts(field: str, artifacts: Artifacts) -> None:
    for name, artifact in artifacts.items():
        check_shown(f"{field}[{name!r}].metadata", artifact.metadata)
