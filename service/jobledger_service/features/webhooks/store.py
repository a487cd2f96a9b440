"""Webhooks on disk, and the position through which the ledger was read for them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from msgspec import Struct as MsgStruct
from msgspec.structs import replace
from sqlalchemy import Connection, Select, and_, delete, exists, func, insert, select, update

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.outputs import JobOutputs
from jobledger_service.core.database.tables import events, ledger
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.limit_errors import TooManyWebhooks
from jobledger_service.core.model.states import WebhookState

from .deliveries import Delivery
from .rows import delivery_row, lock, reset_attempts, schedule, unschedule, webhook_of, webhook_row
from .rules import Missed, Webhook
from .tables import deliveries, webhook_checkpoint, webhooks

_WEBHOOKS = select(webhooks.c.webhook)
_CHECKPOINT = select(webhook_checkpoint.c.position)
_records_events = webhooks.c.state != WebhookState.DISABLED.value
_ANY = select(webhooks.c.webhook_key).limit(1)
EVENTS_DUE = and_(
    exists().select_from(webhooks),
    exists().select_from(ledger.join(webhook_checkpoint, ledger.c.position > webhook_checkpoint.c.position)),
)
"""The condition on which there are events to record."""


class FanoutBatch(MsgStruct, frozen=True):
    """What was read of the ledger for webhooks: everything after `since`, the recorded place, through `through`.

    `trimmed` is the newest position that was trimmed before it was read, None when nothing was.
    """

    since: int
    through: int
    trimmed: int | None
    deliveries: Sequence[Delivery]


class SqlWebhookStore:
    """The webhooks of one database.

    Writing methods are called on the writer's thread; each is one transaction. Every method raises StoreUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outputs = JobOutputs(database.dialect)

    def find(self, key: str) -> Webhook | None:
        """Return a webhook."""
        return next(iter(self._read(_WEBHOOKS.where(webhooks.c.webhook_key == key))), None)

    def of_owner(self, owner: str, after: str, limit: int) -> list[Webhook]:
        """Return at most `limit` of an owner's webhooks with ids above `after`, by id."""
        mine = _WEBHOOKS.where(webhooks.c.owner == owner, webhooks.c.webhook_id > after)
        return self._read(mine.order_by(webhooks.c.webhook_id).limit(limit))

    def all_after(self, after: str, limit: int) -> list[Webhook]:
        """Return webhooks of all owners with keys above `after`, by key."""
        later = _WEBHOOKS.where(webhooks.c.webhook_key > after)
        return self._read(later.order_by(webhooks.c.webhook_key).limit(limit))

    def recording(self, owners: Iterable[str]) -> list[Webhook]:
        """Return the webhooks of these owners that record events."""
        return self._read(_WEBHOOKS.where(webhooks.c.owner.in_(sorted(owners)), _records_events))

    def _read(self, query: Select[Any]) -> list[Webhook]:
        with self._database.read() as connection:
            return [webhook_of(row) for row in connection.execute(query)]

    def create(self, webhook: Webhook, limit: int) -> Webhook:
        """Add a webhook for later events; return it, or the one with its request_id.

        Raises TooManyWebhooks when its owner has `limit` already.
        """
        mine = webhooks.c.owner == webhook.owner
        with self._database.write() as connection:
            # one at a time, and not while events are recorded: the first webhook starts the recording
            connection.execute(_CHECKPOINT.with_for_update())
            if webhook.request_id:
                repeated = _WEBHOOKS.where(mine, webhooks.c.request_id == webhook.request_id)
                if (row := connection.execute(repeated).first()) is not None:
                    return webhook_of(row)
            if connection.execute(select(func.count()).where(mine)).scalar_one() >= limit:
                raise TooManyWebhooks(limit)
            position: int = connection.execute(select(ledger.c.position)).scalar_one()
            if connection.execute(_ANY).first() is None:
                connection.execute(update(webhook_checkpoint).values(position=position))
            created = replace(webhook, after=position)
            connection.execute(insert(webhooks).values(webhook_row(created)))
            return created

    def change(self, key: str, decide: Callable[[Webhook], Webhook], now: Micros) -> Webhook | None:
        """Replace a webhook by the outcome of a decision, and schedule or unschedule its deliveries."""
        with self._database.write() as connection:
            before = lock(connection, [key]).get(key)
            if before is None:
                return None
            after = decide(before)
            save(connection, before, after, now)
            return after

    def delete(self, key: str, limit: int) -> bool | None:
        """Delete at most `limit` deliveries, then the webhook; return whether it was deleted, None without one."""
        mine = deliveries.c.webhook_key == key
        oldest = select(deliveries.c.position).where(mine).order_by(deliveries.c.position).limit(limit).subquery()
        with self._database.write() as connection:
            if not lock(connection, [key]):
                return None
            last = connection.execute(select(func.max(oldest.c.position))).scalar_one()
            if last is not None:
                connection.execute(delete(deliveries).where(mine, deliveries.c.position <= last))
            if connection.execute(select(deliveries.c.position).where(mine).limit(1)).first() is not None:
                return False
            connection.execute(delete(webhooks).where(webhooks.c.webhook_key == key))
            return True

    def fanout_position(self) -> int | None:
        """Return the position through which events are recorded, None without webhooks."""
        with self._database.read() as connection:
            position: int = connection.execute(_CHECKPOINT).scalar_one()
            return position if connection.execute(_ANY).first() is not None else None

    def outputs(self, job_keys: Collection[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return the uid and the encoded output of each of these jobs that is COMPLETED and has one, by key."""
        if not job_keys:
            return {}
        with self._database.read() as connection:
            return self._outputs.read(connection, job_keys)

    def event_before(self, job_key: str, position: int) -> bytes | None:
        """Return the message of a job's last event before a position, None when the history has none."""
        last = (
            select(events.c.message)
            .where(events.c.job_key == job_key, events.c.position < position)
            .order_by(events.c.position.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            message: bytes | None = connection.execute(last).scalar_one_or_none()
            return message

    def record_batch(self, batch: FanoutBatch, now: Micros) -> bool:
        """Record deliveries and the reached place; False when another process was faster."""
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "webhooks"):
                return False
            if connection.execute(_CHECKPOINT.with_for_update()).scalar_one() != batch.since:
                return False
            concerned = {delivery.webhook_key for delivery in batch.deliveries}
            if batch.trimmed is not None:
                concerned |= set(connection.execute(select(webhooks.c.webhook_key).where(_records_events)).scalars())
            locked = lock(connection, concerned)
            recording = {key for key, webhook in locked.items() if webhook.state is not WebhookState.DISABLED}
            if rows := [delivery_row(delivery) for delivery in batch.deliveries if delivery.webhook_key in recording]:
                connection.execute(insert(deliveries), rows)
            new = deliveries.c.position.between(batch.since + 1, batch.through)
            for webhook in locked.values():
                schedule(connection, webhook, now, new)
                if batch.trimmed is not None and webhook.after < batch.trimmed:
                    missed = Missed(max(batch.since, webhook.after) + 1, batch.trimmed, now)
                    save(connection, webhook, replace(webhook, missed_events=missed), now)
            connection.execute(update(webhook_checkpoint).values(position=batch.through))
            return True


def save(connection: Connection, before: Webhook, after: Webhook, now: Micros) -> None:
    """Write a locked webhook; a change of its state schedules or unschedules its deliveries."""
    if after is before:
        return
    row = webhook_row(after)
    connection.execute(update(webhooks).where(webhooks.c.webhook_key == row.pop("webhook_key")).values(row))
    if after.state is before.state:
        return
    unschedule(connection, after, now)
    if after.state is WebhookState.ACTIVE:
        reset_attempts(connection, after)
        schedule(connection, after, now)
