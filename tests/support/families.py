"""The rows of a batch that a server has beside those of jobs and chunks."""

from uuid import uuid4

from jobledger_service.app import families_of
from jobledger_service.core.database.engines import Database
from jobledger_service.core.kernel import Environment
from jobledger_service.core.write.core_families import core_families
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.settings import Settings


def all_families(database: Database) -> list[OpenFamily]:
    """Return all families of a server with the default settings."""
    environment = Environment(Settings(), database, lambda: str(uuid4()))
    return [*core_families(database.dialect), *families_of(environment)]
