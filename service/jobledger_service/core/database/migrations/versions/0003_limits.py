"""Who set a limit last, when, and why."""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; of earlier limits they are empty."""
    op.add_column("limits", Column("reason", Text, nullable=False, server_default=""))
    op.add_column("limits", Column("set_by", Text, nullable=False, server_default=""))
    op.add_column("limits", Column("update_time", BigInteger))
