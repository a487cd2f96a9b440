"""When the duties of webhooks are due: events to record, and deliveries to attempt."""

from typing import Final

from sqlalchemy import ColumnElement, and_, exists

from jobledger_service.core.ledger.read_ports import Due
from jobledger_service.core.store.tables import ledger, webhook_checkpoint, webhooks

from .delivery_store import ANY_DUE

WEBHOOKS_DUE: Final[dict[Due, ColumnElement[bool]]] = {
    Due.WEBHOOK_EVENTS: and_(
        exists().select_from(webhooks),
        exists().select_from(ledger.join(webhook_checkpoint, ledger.c.position > webhook_checkpoint.c.position)),
    ),
    Due.WEBHOOKS: ANY_DUE.exists(),
}
