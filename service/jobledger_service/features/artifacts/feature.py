"""Deletion of what the artifacts of deleted jobs point at."""

from functools import partial
from typing import Final

from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.model.service_kinds import ARTIFACTS

from .duty import ArtifactDeletions
from .family import ArtifactRemovals
from .probes import StoreProbes
from .roots import roots_of

PROBE_INTERVAL_SECONDS: Final = 30.0
"""Seconds between checks of the stores of artifacts; stores may charge for each request."""


def artifacts(kernel: Kernel) -> Feature:
    """Return what the deletion of artifacts adds to a server."""
    deletions = ArtifactDeletions(kernel)
    roots = roots_of(kernel.settings)
    probes = StoreProbes(roots, kernel.components, kernel.clock)
    duties = [Duty("artifact stores", probes.once, PROBE_INTERVAL_SECONDS)] if roots.all else []
    return Feature(
        chunk_handlers={ARTIFACTS: deletions.work},
        duties=duties,
        families=[partial(ArtifactRemovals, RowSets(kernel.database.dialect), kernel.new_id)],
        close=deletions.close,
    )
