"""The rows of a batch that a server has beside those of jobs and chunks."""

from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.bounds.quotas import Bounds
from jobledger_service.core.write.core_families import core_families
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.features.artifacts.family import artifact_removals_family
from jobledger_service.features.limits.family import limits_family, paused_kinds_family
from jobledger_service.features.quotas.family import quotas_family
from jobledger_service.features.retention.feature import expire_times
from jobledger_service.features.retention.rules import Retention
from jobledger_service.features.statistics.family import statistics_family


def all_families(database: Database) -> list[OpenFamily]:
    """Return all families, with ended jobs kept for ever."""
    dialect = database.dialect
    return [
        artifact_removals_family(dialect),
        expire_times(Retention()),
        limits_family(dialect),
        paused_kinds_family(dialect),
        quotas_family(dialect, Bounds()),
        *core_families(dialect),
        statistics_family(dialect),
    ]
