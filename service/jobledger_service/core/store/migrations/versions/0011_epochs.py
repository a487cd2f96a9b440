"""Epochs: the ledger's name becomes that of its epoch, and gets a secret that tokens are authenticated with."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    """Rename the column, and make the secret. Lease tokens and page tokens that are out there end here."""
    op.execute("ALTER TABLE ledger RENAME COLUMN ledger_id TO epoch")
    op.add_column("ledger", sa.Column("token_secret", sa.LargeBinary(), nullable=False, server_default=sa.text("''")))
    op.execute(sa.text("UPDATE ledger SET token_secret = :secret").bindparams(secret=secrets.token_bytes(32)))
