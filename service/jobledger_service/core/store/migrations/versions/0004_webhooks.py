"""Webhooks: the endpoints, the deliveries to them, and the position through which events are recorded for them."""

import sqlalchemy as sa
from alembic import op

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the three tables and their indexes."""
    op.create_table(
        "webhooks",
        sa.Column("webhook_key", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("webhook_id", KEY, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("event_types", sa.Text(), nullable=False),
        sa.Column("percents", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_time", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("missed", sa.Text(), nullable=True),
        sa.Column("after_position", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'DISABLED', 'PAUSED')", name="state_known"),
        sa.PrimaryKeyConstraint("webhook_key"),
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner", "webhook_id"], unique=False)
    op.create_index("webhooks_by_request", "webhooks", ["owner", "request_id"], unique=True)
    op.create_table(
        "deliveries",
        sa.Column("webhook_key", KEY, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Text(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("first_attempt_time", sa.BigInteger(), nullable=True),
        sa.Column("next_attempt_time", sa.BigInteger(), nullable=True),
        sa.Column("locked_until", sa.BigInteger(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
        sa.CheckConstraint("(end_time IS NULL) = (state = 'PENDING')", name="end_time_when_ended"),
        sa.CheckConstraint("next_attempt_time IS NULL OR state = 'PENDING'", name="next_attempt_when_pending"),
        sa.CheckConstraint("attempt_count >= 0 AND tries >= 0", name="attempts_not_negative"),
        sa.ForeignKeyConstraint(["webhook_key"], ["webhooks.webhook_key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("webhook_key", "position", "ordinal"),
    )
    _partial_index("deliveries_scheduled", ["webhook_key", "next_attempt_time"], "next_attempt_time IS NOT NULL")
    _partial_index("deliveries_pending_of_job", ["webhook_key", "job_key", "position", "ordinal"], "state = 'PENDING'")
    _partial_index("deliveries_pending", ["create_time"], "state = 'PENDING'")
    _partial_index("deliveries_over", ["end_time"], "end_time IS NOT NULL")
    _partial_index("deliveries_dead", ["webhook_key", "position", "ordinal"], "state = 'DEAD'")
    place = op.create_table(
        "webhook_place",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one = 1", name="one_row"),
        sa.PrimaryKeyConstraint("one"),
    )
    op.bulk_insert(place, [{"one": 1, "position": 0}])


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "deliveries", columns, unique=False, sqlite_where=where, postgresql_where=where)
