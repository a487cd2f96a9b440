"""A recount of all derived rows, as `jobledger-server recount` does it."""

from jobledger_service.app import DERIVED_TABLES
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.maintenance.recount import Recount, Recounted
from jobledger_service.core.database.unreadable_rows import UnreadableRows


def recount(database: Database) -> Recounted:
    return Recount(database, lambda _: None, ProtoCodec(UnreadableRows()).terms, DERIVED_TABLES).run()
