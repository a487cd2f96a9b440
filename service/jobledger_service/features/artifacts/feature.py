"""Deletion of what the artifacts of deleted jobs point at."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.model.service_kinds import ARTIFACTS

from .duty import ArtifactDeletions


def artifacts(kernel: Kernel) -> Feature:
    """Return what the deletion of artifacts adds to a server."""
    deletions = ArtifactDeletions(kernel)
    return Feature(chunk_handlers={ARTIFACTS: deletions.work}, close=deletions.close)
