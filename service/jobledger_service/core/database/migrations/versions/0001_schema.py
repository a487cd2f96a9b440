"""The schema of 0.1.0, as it was: it is never changed, whatever becomes of `core/database/tables`."""

from jobledger_service.core.database.migrations.statements import run_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables and indexes."""
    run_statements(__file__)
