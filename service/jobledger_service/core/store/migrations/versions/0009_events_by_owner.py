"""Events by owner, so that a watcher who catches up reads the events of its own owner alone."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"

OWNER = {
    "sqlite": "substr(job_key, 1, instr(job_key, '/') - 1)",
    "postgresql": "split_part(job_key, '/', 1)",
}


def upgrade() -> None:
    """Create the index."""
    owner = sa.text(OWNER[op.get_bind().dialect.name])
    op.create_index("events_by_owner", "events", [owner, "position"], unique=False)
