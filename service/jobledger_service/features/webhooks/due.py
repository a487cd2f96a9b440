"""When the duties of webhooks are due: events to record, and deliveries to attempt."""

from typing import Final

from sqlalchemy import and_, exists

from jobledger_service.core.store.tables import ledger, webhook_checkpoint, webhooks

from .delivery_store import ANY_DUE

EVENTS_DUE: Final = and_(
    exists().select_from(webhooks),
    exists().select_from(ledger.join(webhook_checkpoint, ledger.c.position > webhook_checkpoint.c.position)),
)
DELIVERIES_DUE: Final = ANY_DUE.exists()
