"""The tables of webhooks, their deliveries, and the checkpoint through which events are recorded."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    literal_column,
)

from jobledger_service.core.database.tables.schema import Key, metadata, one_of, partial_index
from jobledger_service.core.model.states import DeliveryState, WebhookState

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("webhook_id", Key, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_id", Text),
    Column("webhook", Text, nullable=False),
    one_of("state", list(WebhookState)),
)
Index("webhooks_by_owner", webhooks.c.owner, webhooks.c.webhook_id)
Index("webhooks_by_request", webhooks.c.owner, webhooks.c.request_id, unique=True)

deliveries = Table(
    "deliveries",
    metadata,
    Column("webhook_key", Key, ForeignKey("webhooks.webhook_key", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("job_key", Key, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Text, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("first_attempt_time", BigInteger),
    Column("next_attempt_time", BigInteger),
    Column("locked_until", BigInteger),
    Column("create_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    one_of("state", list(DeliveryState)),
    CheckConstraint("(end_time IS NULL) = (state = 'PENDING')", name="end_time_when_ended"),
    CheckConstraint("next_attempt_time IS NULL OR state = 'PENDING'", name="next_attempt_when_pending"),
    CheckConstraint("attempt_count >= 0 AND tries >= 0", name="attempts_not_negative"),
)

pending = deliveries.c.state == literal_column("'PENDING'")
dead = deliveries.c.state == literal_column("'DEAD'")
scheduled = deliveries.c.next_attempt_time.is_not(None)
over = deliveries.c.end_time.is_not(None)
partial_index("deliveries_scheduled", deliveries.c.webhook_key, deliveries.c.next_attempt_time, where=scheduled)
partial_index(
    "deliveries_pending_of_job",
    deliveries.c.webhook_key,
    deliveries.c.job_key,
    deliveries.c.position,
    deliveries.c.ordinal,
    where=pending,
)
partial_index("deliveries_pending", deliveries.c.create_time, where=pending)
partial_index("deliveries_ended", deliveries.c.end_time, where=over)
partial_index("deliveries_dead", deliveries.c.webhook_key, deliveries.c.position, deliveries.c.ordinal, where=dead)

webhook_checkpoint = Table(
    "webhook_checkpoint",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
