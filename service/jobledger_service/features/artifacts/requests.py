"""The input of a chunk that deletes artifacts."""

from collections.abc import Callable, Sequence

from jobledger_service.core.api.parse import struct_content
from jobledger_service.core.ledger.commands import ClaimedChunk


def uris(claimed: ClaimedChunk) -> Sequence[str]:
    """Return what a chunk is to delete; raises ValueError for an input that does not say so."""
    content = struct_content(claimed.inputs.chunks.get(claimed.chunk.index))
    if "uris" not in content:
        raise ValueError(f"chunk {claimed.chunk.index} of job {claimed.job.spec.job_id!r} names no URIs")
    return [str(uri) for uri in content["uris"]]


ReadUris = Callable[[ClaimedChunk], Sequence[str]]
"""Reads what is to be deleted from a chunk's inputs; raises ValueError for what is none."""
