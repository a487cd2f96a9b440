"""The schema as `core/store/tables` describes it.

Until the first release, which freezes what this creates as statements of its own, a change of the tables changes it.
"""

from alembic import op
from sqlalchemy import insert
from sqlalchemy.schema import CreateTable

from jobledger_service.core.store.migrations.full_text import create_full_text
from jobledger_service.core.store.tables import metadata, webhook_checkpoint

revision = "0001"
down_revision = None

LAST = "chunks_of_service"
"""Of two indexes that could serve a query SQLite, without statistics, takes the one that was made later."""


def upgrade() -> None:
    """Create all tables and indexes."""
    connection = op.get_bind()
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table))
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    for index in sorted(indexes, key=lambda index: (index.name == LAST, index.name)):
        index.create(connection)
    connection.execute(insert(webhook_checkpoint).values(id=1, position=0))
    create_full_text()
