"""The writer level of a database: every writing transaction reads it first, and a migration raises it.

A transaction that has read the ledger's row holds a lock of the table until it ends. So a migration that raises the
level waits for the transactions that are under way, and those that begin meanwhile wait for it and then read the new
level: no transaction of an older server commits after the migration.
"""

from typing import Final

from sqlalchemy import Connection, update

from .tables import ledger

_READ: Final = "SELECT writer_level FROM ledger"
WRITTEN_LABELS: Final = "written_labels"
"""Where a connection has, during a writing transaction, what the ledger says of the indexes of labels."""


def read_writer_level(connection: Connection) -> int:
    """Return the lowest level that may write to the database."""
    level: int = connection.exec_driver_sql(_READ).scalar_one()
    return level


def lock_out_writers(connection: Connection) -> None:
    """Wait for running write transactions, and block others until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")


def raise_writer_level(connection: Connection, level: int) -> None:
    """Restrict writes to servers of this level or above from this transaction on; the first step of a migration."""
    lock_out_writers(connection)
    connection.execute(update(ledger).where(ledger.c.writer_level < level).values(writer_level=level))
