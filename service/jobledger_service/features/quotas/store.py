"""Quotas in the database, as admins write them."""

from collections.abc import Sequence

from msgspec.structs import asdict
from sqlalchemy import delete

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.quotas import Quota, QuotaRows
from jobledger_service.core.database.tables import quotas


class SqlQuotaStore:
    """The quotas that were set. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = QuotaRows(database.dialect)

    def put(self, quota: Quota) -> None:
        """Set a quota, in place of the owner's old one."""
        row = {"owner": quota.owner, "reason": quota.reason, "set_by": quota.set_by, "set_time": quota.set_time}
        row |= asdict(quota.bounds)
        with self._database.write() as connection:
            new = self._database.dialect.insert_or(quotas).values(row)
            connection.execute(new.on_conflict_do_update(index_elements=["owner"], set_=row))

    def delete(self, owner: str) -> bool:
        """Delete the quota of an owner; return whether there was one."""
        with self._database.write() as connection:
            return bool(connection.execute(delete(quotas).where(quotas.c.owner == owner)).rowcount)

    def find(self, owners: Sequence[str]) -> dict[str, Quota]:
        """Return the quotas of some owners."""
        with self._database.read() as connection:
            return self._rows.find(connection, owners)
