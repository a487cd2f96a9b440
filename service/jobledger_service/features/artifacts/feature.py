"""Deletion of what the artifacts of deleted jobs point at."""

from jobledger_service.core.api.convert import encoded_struct
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.model.service_kinds import ARTIFACTS

from .duty import ArtifactDeletions
from .objects import remove
from .requests import uris
from .roots import roots_of


def artifacts(kernel: Kernel) -> Feature:
    """Return what the deletion of artifacts adds to a server."""
    roots = roots_of(kernel.settings)
    deletions = ArtifactDeletions(
        kernel.store, kernel.queries, kernel.committer, uris, remove, roots, encoded_struct, kernel.sample_jitter
    )
    return Feature(chunk_handlers={ARTIFACTS: deletions.work}, close=deletions.close)
