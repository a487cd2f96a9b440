"""The rows of a batch that a server has beside those of jobs and chunks."""

from jobledger_service.core.ledger.row_families import OpenFamily
from jobledger_service.core.store.core_families import core_families
from jobledger_service.core.store.engines import Database
from jobledger_service.features.limits.family import limits_family
from jobledger_service.features.retention.feature import expire_times
from jobledger_service.features.retention.rules import Retention


def all_families(database: Database) -> list[OpenFamily]:
    """Return all families, with ended jobs kept for ever."""
    return [expire_times(Retention()), limits_family(database.dialect), *core_families(database.dialect)]
