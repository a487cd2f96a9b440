"""The schema. Before the first release it is what the tables say; the release will write it out, for good."""

import sqlalchemy as sa
from alembic import op

from jobledger_service.core.store.migrations.full_text import create_full_text
from jobledger_service.core.store.tables import metadata, webhook_checkpoint

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables and indexes."""
    connection = op.get_bind()
    for table in metadata.sorted_tables:
        connection.execute(sa.schema.CreateTable(table))
        # Of two indexes that could serve a query SQLite, without statistics, takes the one that was made later.
        for index in sorted(table.indexes, key=lambda index: str(index.name), reverse=True):
            index.create(connection)
    connection.execute(sa.insert(webhook_checkpoint).values(one=1, position=0))
    create_full_text()
