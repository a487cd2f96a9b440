"""The terms of the ledger, by which a position that a fail-over lost is told from one that was given again."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

from jobledger_service.core.database.writer_level import raise_writer_level

revision = "0002"
down_revision = "0001"

LEVEL = 2
"""Servers that begin no terms may no longer write."""


def upgrade() -> None:
    """Create the table, and the columns of the ledger. What was committed before is of term 0."""
    raise_writer_level(op.get_bind(), LEVEL)
    op.add_column("ledger", Column("term", BigInteger, nullable=False, server_default="0"))
    op.add_column("ledger", Column("start", Text, nullable=False, server_default=""))
    position = BigInteger().with_variant(Integer, "sqlite")
    op.create_table(
        "terms",
        Column("first_position", position, primary_key=True, autoincrement=False),
        Column("term", BigInteger, nullable=False),
    )
    op.execute("INSERT INTO terms (first_position, term) VALUES (0, 0)")
