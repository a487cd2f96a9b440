"""The table of usage."""

from sqlalchemy import BigInteger, Column, Table

from jobledger_service.core.database.tables.schema import Key, metadata

usage = Table(
    "usage",
    metadata,
    Column("day", Key, primary_key=True),
    Column("owner", Key, primary_key=True),
    Column("key_id", Key, primary_key=True),
    Column("method", Key, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
)
