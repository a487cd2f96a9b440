"""A migration that no version has: a table and a column that every commit has to keep, filled from what is there."""

import sqlalchemy as sa
from alembic import op
from jobledger_service.core.database.maintenance.migrate import VERSIONS
from jobledger_service.core.database.writer_level import raise_writer_level
from jobledger_service.core.model.history.writer_level import WRITER_LEVEL

revision = "9000"
down_revision = max(file.stem.partition("_")[0] for file in VERSIONS.glob("[0-9]*.py"))


def upgrade() -> None:
    """Raise the writer level first: servers without this version's code would leave the table incomplete."""
    raise_writer_level(op.get_bind(), WRITER_LEVEL + 1)
    op.create_table("greetings", sa.Column("job_key", sa.Text(), primary_key=True), sa.Column("greeting", sa.Text()))
    op.execute("INSERT INTO greetings (job_key, greeting) SELECT job_key, 'hello ' || state FROM jobs")
    op.add_column("ledger", sa.Column("greeted", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE ledger SET greeted = position")
