"""The ledger's epoch: every server reads it at the start, and a restore renews it."""

import secrets
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import ledger
from jobledger_service.core.model.history.epoch import Epoch

SECRET_BYTES: Final = 32


class ServersConnectedError(Exception):
    """Servers are connected to the database, and would continue with the old epoch."""


def epoch_values() -> dict[str, object]:
    """Return the columns of a new epoch."""
    return {"epoch": str(uuid4()), "token_secret": secrets.token_bytes(SECRET_BYTES)}


def read_epoch(connection: Connection) -> Epoch:
    """Return the epoch of the ledger."""
    name, secret = connection.execute(select(ledger.c.epoch, ledger.c.token_secret)).one()
    return Epoch(UUID(name), secret)


def begin_epoch(database: Database) -> int:
    """Begin a new epoch, so that earlier cursors and tokens are refused; return the ledger's position.

    Raises ServersConnectedError.
    """
    with database.write() as connection:
        servers = [
            replica.name for replica in database.dialect.replicas(connection) if replica.name != database.dialect.name
        ]
        if servers:
            raise ServersConnectedError(f"{len(servers)} servers are connected to the database: stop them first")
        changed = update(ledger).values(epoch_values()).returning(ledger.c.position)
        position: int = connection.execute(changed).scalar_one()
    return position
