"""Deletion of the artifacts of deleted jobs, and of what they point at."""

from functools import partial
from typing import Final

from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.duty import TRIM_SECONDS, Duty
from jobledger_service.core.kernel import Environment, Feature, Kernel, ServerParts
from jobledger_service.core.model.service_kinds import ARTIFACTS
from jobledger_service.core.write.row_families import OpenFamily

from .duty import ArtifactDeletions
from .family import ArtifactRemovals
from .probes import StoreProbes
from .roots import roots_of
from .store import DeletedArtifacts

VERSIONS_PER_STEP: Final = 1_000
PROBE_INTERVAL_SECONDS: Final = 30.0
"""Seconds between checks of the stores of artifacts; stores may charge for each request."""


def _open(kernel: Kernel) -> ServerParts:
    deletions = ArtifactDeletions(kernel)
    roots = roots_of(kernel.settings)
    probes = StoreProbes(roots, kernel.components, kernel.clock)
    store = DeletedArtifacts(kernel.database)

    async def trim() -> bool:
        """Delete artifact versions that nothing refers to any more; return whether there may be more."""
        return await kernel.committer.run_on_writer(partial(store.trim_versions, VERSIONS_PER_STEP), VERSIONS_PER_STEP)

    duties = [Duty("artifact versions", trim, TRIM_SECONDS)]
    if roots.all:
        duties.append(Duty("artifact stores", probes.once, PROBE_INTERVAL_SECONDS))
    return ServerParts(chunk_handlers={ARTIFACTS: deletions.work}, duties=duties, close=deletions.close)


def _families(environment: Environment) -> list[OpenFamily]:
    return [partial(ArtifactRemovals, RowSets(environment.database.dialect), environment.new_id)]


feature = Feature(_open, _families)
