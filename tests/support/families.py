"""The rows of a batch that a server has beside those of jobs and chunks."""

from functools import partial
from uuid import uuid4

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.paused_kinds import PausedKindRows
from jobledger_service.core.database.rows.quotas import QuotaRows
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.model.bounds.quotas import Bounds
from jobledger_service.core.write.core_families import core_families
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.features.artifacts.family import ArtifactRemovals
from jobledger_service.features.limits.family import Limits, PausedKinds
from jobledger_service.features.limits.store import LimitRows
from jobledger_service.features.quotas.family import Quotas
from jobledger_service.features.retention.family import ExpireTimes
from jobledger_service.features.retention.rules import Retention
from jobledger_service.features.statistics.family import Statistics


def all_families(database: Database) -> list[OpenFamily]:
    """Return all families, with ended jobs kept for ever."""
    dialect = database.dialect
    return [
        partial(ArtifactRemovals, RowSets(dialect), lambda: str(uuid4())),
        partial(ExpireTimes, Retention()),
        partial(Limits, LimitRows(dialect)),
        partial(PausedKinds, PausedKindRows(dialect)),
        partial(Quotas, QuotaRows(dialect), Bounds()),
        *core_families(dialect),
        partial(Statistics, dialect),
    ]
