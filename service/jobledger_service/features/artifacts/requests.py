"""The input of a chunk that deletes artifacts."""

from collections.abc import Callable, Sequence

from jobledger_service.core.api.parse import struct_content
from jobledger_service.core.ledger.commands import ClaimedChunk


def uris(claimed: ClaimedChunk) -> Sequence[str]:
    """Return the URIs that a chunk must delete; raises ValueError for an invalid input."""
    content = struct_content(claimed.inputs.chunks.get(claimed.chunk.index))
    if "uris" not in content:
        raise ValueError(f"chunk {claimed.chunk.index} of job {claimed.job.spec.job_id!r} names no URIs")
    return [str(uri) for uri in content["uris"]]


ReadUris = Callable[[ClaimedChunk], Sequence[str]]
"""Reads a chunk's URIs from its inputs; raises ValueError for invalid ones."""
