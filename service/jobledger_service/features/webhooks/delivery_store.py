"""Deliveries on disk: listed, claimed, settled, redelivered, and deleted."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, literal, select, tuple_, update

from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES
from jobledger_service.core.model.history.vitals import MAX_COUNTED_DELIVERIES, DeliveryCounts
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import DeliveryState, WebhookState

from . import rows as stored
from .deliveries import Delivery, DeliveryAttempt, DeliveryCapacity
from .rules import Webhook
from .store import save
from .tables import dead, deliveries, over, pending, scheduled, webhooks

Decide = Callable[[Webhook, Sequence[Delivery]], Webhook]
"""The decision about a webhook after attempts at some of its deliveries."""
_place = tuple_(deliveries.c.position, deliveries.c.ordinal)
_CHANGE = update(deliveries).where(*stored.IS_ROW)
_FREE = _CHANGE.values(locked_until=None)
_SETTLE = _FREE.where(pending, deliveries.c.attempt_count == bindparam("fence"))
"""Writes the outcome of an attempt, unless a later one has begun."""
_ANEW: Final = {"state": "PENDING", "tries": 0, "first_attempt_time": None, "next_attempt_time": None, "end_time": None}
MAX_LOOK: Final = 20_000
"""The number of deliveries that a page of some states reads."""
OF_DELIVERY: Final = 2_000
"""Bytes of a delivery in a reply, beside its attempts in JSON: its texts, and what an attempt takes beside those."""
EXPIRED_MESSAGE = "it was not delivered within the time for which deliveries are kept"


_DUE = and_(deliveries.c.next_attempt_time <= bindparam("now"), stored.unlocked)
_WITH_DUE = select(webhooks.c.webhook).where(
    webhooks.c.state == WebhookState.ACTIVE.value,
    exists(select(deliveries.c.position).where(deliveries.c.webhook_key == webhooks.c.webhook_key, _DUE)),
)
ANY_DUE = _WITH_DUE.with_only_columns(webhooks.c.webhook_key).limit(1)
DELIVERIES_DUE = ANY_DUE.exists()
"""The condition on which deliveries are attempted."""
_DUE_OF_ONE = (
    select(*stored.DELIVERY_COLUMNS)
    .where(deliveries.c.webhook_key == bindparam("key"), _DUE)
    .order_by(deliveries.c.next_attempt_time)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)


_WAITING = (
    select(deliveries.c.create_time)
    .where(pending)
    .order_by(deliveries.c.create_time)
    .limit(MAX_COUNTED_DELIVERIES)
    .subquery()
)
_DEAD = select(literal(1)).where(dead).limit(MAX_COUNTED_DELIVERIES).subquery()
_COUNTS = select(
    func.count(), func.min(_WAITING.c.create_time), select(func.count()).select_from(_DEAD).scalar_subquery()
).select_from(_WAITING)


def count_deliveries(connection: Connection) -> DeliveryCounts:
    """Return the counts of waiting and dead deliveries."""
    return DeliveryCounts(*connection.execute(_COUNTS).one())


def _in(states: frozenset[DeliveryState]) -> ColumnElement[bool]:
    """Return the condition of some states; of DEAD alone it is that of the partial index."""
    return dead if states == {DeliveryState.DEAD} else deliveries.c.state.in_(sorted(states))


class SqlDeliveryStore:
    """The deliveries of one database."""

    def __init__(self, database: Database, max_look: int = MAX_LOOK) -> None:
        self._database = database
        self._max_look = max_look

    def deliveries(
        self, webhook_key: str, states: frozenset[DeliveryState], before: tuple[int, int] | None, limit: int
    ) -> tuple[list[Delivery], tuple[int, int] | None]:
        """Return deliveries before a place (position, ordinal), newest first, as many as fit into a reply.

        The second value is the last place that was read, None on the last page. Any page may be short.
        A page of some states looks at no more than MAX_LOOK deliveries; of the dead ones there is an index.
        """
        newest_first = (deliveries.c.position.desc(), deliveries.c.ordinal.desc())
        query = select(*stored.LISTED_COLUMNS).where(deliveries.c.webhook_key == webhook_key).order_by(*newest_first)
        if before is not None:
            query = query.where(_place < tuple_(*before))
        last: tuple[int, int] | None = None
        with self._database.read() as connection:
            if states and states != {DeliveryState.DEAD}:
                places = query.with_only_columns(deliveries.c.position, deliveries.c.ordinal)
                if (row := connection.execute(places.offset(self._max_look - 1).limit(1)).first()) is not None:
                    last = row.position, row.ordinal
                    query = query.where(_place >= tuple_(*last))
            if states:
                query = query.where(_in(states))
            page, size = list[Delivery](), 0
            with closing(connection.execute(query.limit(limit + 1))) as rows:
                for row in rows:
                    size += OF_DELIVERY + len(row.attempts.encode())
                    if page and (len(page) == limit or size > MAX_REPLY_BYTES):
                        return page, (page[-1].position, page[-1].ordinal)
                    page.append(stored.delivery_of(row))
        return page, last

    def is_due(self, now: Micros) -> bool:
        """Return whether a delivery is due."""
        with self._database.read() as connection:
            return connection.execute(ANY_DUE, {"now": now}).first() is not None

    def settle_and_claim(
        self, finished: Sequence[Delivery], decide: Decide, capacity: DeliveryCapacity, now: Micros, lease: int
    ) -> list[tuple[Webhook, Delivery]]:
        """Settle attempts, let `decide` update their webhooks, and claim what is due for `lease` µs."""
        with self._database.write() as connection:
            if finished:
                self._settle(connection, finished, decide, now)
            return self._claim(connection, capacity, now, lease)

    def _settle(self, connection: Connection, finished: Sequence[Delivery], decide: Decide, now: Micros) -> None:
        locked = stored.lock(connection, {delivery.webhook_key for delivery in finished})
        ordered = sorted(finished, key=lambda delivery: delivery.place)
        connection.execute(
            _SETTLE, [stored.outcome_row(delivery) | {"fence": delivery.attempt_count} for delivery in ordered]
        )
        for key, webhook in locked.items():
            mine = [delivery for delivery in finished if delivery.webhook_key == key]
            after = decide(webhook, mine)
            save(connection, webhook, after, now)
            if after.state is not WebhookState.ACTIVE:
                stored.unschedule(connection, after, now)
            if ended := {delivery.job_key for delivery in mine if delivery.state is not DeliveryState.PENDING}:
                stored.schedule(connection, after, now, deliveries.c.job_key.in_(sorted(ended)))

    def _claim(
        self, connection: Connection, capacity: DeliveryCapacity, now: Micros, lease: int
    ) -> list[tuple[Webhook, Delivery]]:
        """Claim from each webhook in turn, as far as there is room.

        A slow webhook, or an owner with many, does not exclude others: owners with deliveries have equal shares.
        """
        claimed: list[tuple[Webhook, Delivery]] = []
        if capacity.total <= 0:
            return claimed
        webhooks_due = [stored.webhook_of(row) for row in connection.execute(_WITH_DUE, {"now": now})]
        busy = capacity.busy_owners()
        share = capacity.share(len(busy.keys() | {webhook.owner for webhook in webhooks_due}))
        first = now % len(webhooks_due) if webhooks_due else 0
        for webhook in webhooks_due[first:] + webhooks_due[:first]:
            room = capacity.total - len(claimed)
            count = min(room, capacity.per_webhook - capacity.busy.get(webhook.key, 0), share - busy[webhook.owner])
            if count > 0:
                due = connection.execute(_DUE_OF_ONE, {"key": webhook.key, "now": now, "limit": count})
                taken = [
                    replace(delivery, attempt_count=delivery.attempt_count + 1)
                    for delivery in map(stored.delivery_of, due)
                ]
                busy[webhook.owner] += len(taken)
                claimed += [(webhook, delivery) for delivery in taken]
        if claimed:
            until = {"locked_until": now + lease}
            rows = [
                {**stored.row_place(delivery.place), **until, "attempt_count": delivery.attempt_count}
                for _, delivery in claimed
            ]
            connection.execute(_CHANGE, rows)
        return claimed

    def release(self, claimed: Sequence[Delivery]) -> None:
        """Release deliveries whose attempt was broken off."""
        with self._database.write() as connection:
            ordered = sorted(claimed, key=lambda delivery: delivery.place)
            connection.execute(
                _SETTLE, [stored.row_place(delivery.place) | {"fence": delivery.attempt_count} for delivery in ordered]
            )

    def release_all(self) -> None:
        """Release the claims of a dead process; only where no other process can claim."""
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(scheduled).values(locked_until=None))

    def redeliver_one(self, webhook_key: str, place: tuple[int, int], now: Micros) -> bool:
        """Make a delivery PENDING, due when its job's earlier ones are done; False when it does not exist."""
        condition = _place == tuple_(*place)
        existing = select(deliveries.c.position).where(deliveries.c.webhook_key == webhook_key, condition)
        with self._database.write() as connection:
            if connection.execute(existing).first() is None:
                return False
            self._redeliver(connection, webhook_key, condition, 1, now)
            return True

    def redeliver(
        self, webhook_key: str, states: frozenset[DeliveryState], after: tuple[int, int], limit: int, now: Micros
    ) -> tuple[int, tuple[int, int] | None]:
        """Make deliveries after a place PENDING; return how many, and the next place, None after the last."""
        condition = and_(_place > tuple_(*after), _in(states))
        with self._database.write() as connection:
            changed = self._redeliver(connection, webhook_key, condition, limit, now)
        return len(changed), changed[-1] if len(changed) == limit else None

    def _redeliver(
        self, connection: Connection, webhook_key: str, condition: ColumnElement[bool], limit: int, now: Micros
    ) -> list[tuple[int, int]]:
        """Make deliveries PENDING whose attempt does not run, in order; return their places."""
        webhook = stored.lock(connection, [webhook_key]).get(webhook_key)
        if webhook is None:
            return []
        query = (
            select(deliveries.c.position, deliveries.c.ordinal)
            .where(deliveries.c.webhook_key == webhook_key, condition, stored.unlocked)
            .order_by(deliveries.c.position, deliveries.c.ordinal)
            .limit(limit)
            .with_for_update()
        )
        places = [(position, ordinal) for position, ordinal in connection.execute(query, {"now": now})]
        if places:
            connection.execute(_FREE, [{**stored.row_place((webhook_key, *place)), **_ANEW} for place in places])
            stored.unschedule(connection, webhook, now)
            stored.schedule(connection, webhook, now, deliveries.c.position.between(places[0][0], places[-1][0]))
        return places

    def trim_deliveries(self, before: int, limit: int, now: Micros) -> int:
        """Mark deliveries created before a time DEAD, and delete those that ended before it, at most `limit` each."""
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim deliveries"):
                return 0
            expired = self._expire(connection, before, limit, now)
            return expired + self._forget(connection, before, limit)

    def _expire(self, connection: Connection, before: int, limit: int, now: Micros) -> int:
        old = select(*stored.LISTED_COLUMNS).where(pending, deliveries.c.create_time < before).limit(limit)
        locked = stored.lock(connection, {row.webhook_key for row in connection.execute(old)})
        stale = old.where(stored.unlocked, deliveries.c.webhook_key.in_(sorted(locked)))
        rows = [stored.delivery_of(row) for row in connection.execute(stale, {"now": now})] if locked else []
        if rows:
            rows.sort(key=lambda delivery: delivery.place)
            end = DeliveryAttempt(now, 0, None, EXPIRED_MESSAGE)
            connection.execute(_FREE, [stored.outcome_row(delivery.attempted(end, None)) for delivery in rows])
        for webhook in locked.values():
            stored.schedule(connection, webhook, now)
        return len(rows)

    def _forget(self, connection: Connection, before: int, limit: int) -> int:
        old = (
            select(deliveries.c.webhook_key, deliveries.c.position, deliveries.c.ordinal)
            .where(over, deliveries.c.end_time < before)
            .order_by(deliveries.c.end_time)
            .limit(limit)
        )
        rows = [
            stored.row_place((key, position, ordinal))
            for key, position, ordinal in sorted(connection.execute(old).all())
        ]
        if rows:
            connection.execute(delete(deliveries).where(*stored.IS_ROW, over), rows)
        return len(rows)
