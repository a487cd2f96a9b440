"""Deliveries on disk: listed, claimed, settled, redelivered, and deleted."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, or_, select, update

from jobledger_service.core.model.limits import MAX_REPLY_BYTES
from jobledger_service.core.model.states import DeliveryState, WebhookState
from jobledger_service.core.store.engines import Database
from jobledger_service.core.store.tables import dead, deliveries, over, pending, scheduled, webhooks

from . import scheduling as waiting
from .deliveries import Attempt, Delivery
from .rows import DELIVERY_COLUMNS, attempts_of, attempts_text, delivery_of, webhook_of
from .rules import Webhook
from .store import save
from .values import ClaimedDelivery, DeliveryCapacity, FinishedAttempt

_IS_ROW = and_(
    deliveries.c.webhook_key == bindparam("key"),
    deliveries.c.position == bindparam("at"),
    deliveries.c.ordinal == bindparam("nth"),
)
_CLAIM = update(deliveries).where(_IS_ROW).values(locked_until=bindparam("until"), attempt_count=bindparam("fence"))
_IS_MINE = and_(_IS_ROW, pending, deliveries.c.attempt_count == bindparam("fence"))
_RELEASE = update(deliveries).where(_IS_MINE).values(locked_until=None)
_CONCLUDE = (
    update(deliveries)
    .where(_IS_MINE)
    .values(
        state=bindparam("to"),
        attempts=bindparam("list"),
        tries=bindparam("tried"),
        first_attempt_time=bindparam("first"),
        next_attempt_time=bindparam("next"),
        end_time=bindparam("end"),
        locked_until=None,
    )
)
_REDELIVER = (
    update(deliveries)
    .where(_IS_ROW)
    .values(state="PENDING", tries=0, first_attempt_time=None, next_attempt_time=None, end_time=None, locked_until=None)
)
_EXPIRE = (
    update(deliveries)
    .where(_IS_ROW)
    .values(state="DEAD", attempts=bindparam("list"), next_attempt_time=None, end_time=bindparam("end"))
)
MAX_LOOK: Final = 20_000
"""The number of deliveries that a page of some states reads."""
OF_DELIVERY: Final = 2_000
"""Bytes of a delivery in a reply, beside its attempts in JSON: its texts, and what an attempt takes beside those."""
EXPIRED_MESSAGE = "it was not delivered within the time for which deliveries are kept"


_DUE = and_(deliveries.c.next_attempt_time <= bindparam("now"), waiting.unlocked)
_WITH_DUE = select(webhooks.c.webhook).where(
    webhooks.c.state == WebhookState.ACTIVE.value,
    exists(select(deliveries.c.position).where(deliveries.c.webhook_key == webhooks.c.webhook_key, _DUE)),
)
ANY_DUE = _WITH_DUE.with_only_columns(webhooks.c.webhook_key).limit(1)
DELIVERIES_DUE = ANY_DUE.exists()
"""The condition on which deliveries are attempted."""
_DUE_OF_ONE = (
    select(deliveries)
    .where(deliveries.c.webhook_key == bindparam("key"), _DUE)
    .order_by(deliveries.c.next_attempt_time)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)


def _in(states: frozenset[DeliveryState]) -> ColumnElement[bool]:
    """Return the condition of some states; of DEAD alone it is that of the partial index."""
    return dead if states == {DeliveryState.DEAD} else deliveries.c.state.in_(sorted(states))


def _before(place: tuple[int, int]) -> ColumnElement[bool]:
    position, ordinal = place
    same = and_(deliveries.c.position == position, deliveries.c.ordinal < ordinal)
    return and_(deliveries.c.position <= position, or_(deliveries.c.position < position, same))


def _from(place: tuple[int, int]) -> ColumnElement[bool]:
    position, ordinal = place
    same = and_(deliveries.c.position == position, deliveries.c.ordinal >= ordinal)
    return and_(deliveries.c.position >= position, or_(deliveries.c.position > position, same))


def _after(place: tuple[int, int]) -> ColumnElement[bool]:
    position, ordinal = place
    same = and_(deliveries.c.position == position, deliveries.c.ordinal > ordinal)
    return and_(deliveries.c.position >= position, or_(deliveries.c.position > position, same))


class SqlDeliveryStore:
    """The deliveries of one database."""

    def __init__(self, database: Database, max_look: int = MAX_LOOK) -> None:
        self._database = database
        self._max_look = max_look

    def deliveries(
        self, webhook_key: str, states: frozenset[DeliveryState], before: tuple[int, int] | None, limit: int
    ) -> tuple[list[Delivery], tuple[int, int] | None]:
        """Return deliveries before a place (position, ordinal), newest first, as many as fit into a reply.

        The second value is the last place that was read, None on the last page, which may be short as any.
        A page of some states looks at no more than MAX_LOOK deliveries; of the dead ones there is an index.
        """
        mine = deliveries.c.webhook_key == webhook_key
        if before is not None:
            mine = and_(mine, _before(before))
        newest_first = (deliveries.c.position.desc(), deliveries.c.ordinal.desc())
        wanted = select(*DELIVERY_COLUMNS).where(mine)
        last: tuple[int, int] | None = None
        with self._database.read() as connection:
            if states and states != {DeliveryState.DEAD}:
                place = select(deliveries.c.position, deliveries.c.ordinal).where(mine).order_by(*newest_first)
                if (row := connection.execute(place.offset(self._max_look - 1).limit(1)).first()) is not None:
                    last = row.position, row.ordinal
                    wanted = wanted.where(_from(last))
            if states:
                wanted = wanted.where(_in(states))
            found, size = list[Delivery](), 0
            with closing(connection.execute(wanted.order_by(*newest_first).limit(limit + 1))) as rows:
                for row in rows:
                    size += OF_DELIVERY + len(row.attempts.encode())
                    if found and (len(found) == limit or size > MAX_REPLY_BYTES):
                        return found, (found[-1].position, found[-1].ordinal)
                    found.append(delivery_of(row))
        return found, last

    def is_due(self, now: int) -> bool:
        """Return whether a delivery is due."""
        with self._database.read() as connection:
            return connection.execute(ANY_DUE, {"now": now}).first() is not None

    def settle_and_claim(
        self,
        finished: Sequence[FinishedAttempt],
        decide: Callable[[Webhook, Sequence[FinishedAttempt]], Webhook],
        capacity: DeliveryCapacity,
        now: int,
        lease: int,
    ) -> list[ClaimedDelivery]:
        """Settle attempts, let `decide` update their webhooks, and claim what is due for `lease` µs."""
        with self._database.write() as connection:
            if finished:
                self._conclude(connection, finished, decide, now)
            return self._claim(connection, capacity, now, lease)

    def _conclude(
        self,
        connection: Connection,
        finished: Sequence[FinishedAttempt],
        decide: Callable[[Webhook, Sequence[FinishedAttempt]], Webhook],
        now: int,
    ) -> None:
        locked = waiting.lock(connection, {one.claimed.webhook_key for one in finished})
        ordered = sorted(finished, key=lambda one: _place_of(one.claimed))
        connection.execute(_CONCLUDE, [_conclusion(one, now) for one in ordered])
        for key, webhook in locked.items():
            mine = [one for one in finished if one.claimed.webhook_key == key]
            after = decide(webhook, mine)
            save(connection, webhook, after, now)
            if after.state is not WebhookState.ACTIVE:
                waiting.unschedule(connection, after, now)
            ended = {one.claimed.job_key for one in mine if one.state is not DeliveryState.PENDING}
            waiting.schedule_for_jobs(connection, after, ended, now)

    def _claim(self, connection: Connection, capacity: DeliveryCapacity, now: int, lease: int) -> list[ClaimedDelivery]:
        """Claim from each webhook in turn, as far as there is room.

        A slow webhook, or an owner with many, does not exclude others: owners with deliveries have equal shares.
        """
        claimed: list[ClaimedDelivery] = []
        if capacity.total <= 0:
            return claimed
        found = [webhook_of(row) for row in connection.execute(_WITH_DUE, {"now": now})]
        busy = capacity.busy_owners()
        share = capacity.share(len(busy.keys() | {webhook.owner for webhook in found}))
        first = now % len(found) if found else 0
        for webhook in found[first:] + found[:first]:
            left = capacity.total - len(claimed)
            count = min(left, capacity.per_webhook - capacity.busy.get(webhook.key, 0), share - busy[webhook.owner])
            if count > 0:
                taken = self._claim_of(connection, webhook, count, now)
                busy[webhook.owner] += len(taken)
                claimed += taken
        if claimed:
            until = now + lease
            connection.execute(_CLAIM, [_row_of(one) | {"until": until, "fence": one.fence} for one in claimed])
        return claimed

    def _claim_of(self, connection: Connection, webhook: Webhook, limit: int, now: int) -> list[ClaimedDelivery]:
        due = connection.execute(_DUE_OF_ONE, {"key": webhook.key, "now": now, "most": limit})
        secrets = webhook.signing(now)
        return [
            ClaimedDelivery(
                webhook_key=row.webhook_key,
                webhook_id=webhook.webhook_id,
                position=row.position,
                ordinal=row.ordinal,
                job_key=row.job_key,
                url=webhook.url,
                secrets=secrets,
                body=row.body,
                attempts=attempts_of(row.attempts),
                tries=row.tries,
                first=row.first_attempt_time,
                fence=row.attempt_count + 1,
            )
            for row in due
        ]

    def release(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Release deliveries whose attempt was broken off."""
        with self._database.write() as connection:
            ordered = sorted(claimed, key=_place_of)
            connection.execute(_RELEASE, [_row_of(one) | {"fence": one.fence} for one in ordered])

    def release_all(self) -> None:
        """Release the claims of a dead process; only where no other process can claim."""
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(scheduled).values(locked_until=None))

    def redeliver_one(self, webhook_key: str, place: tuple[int, int], now: int) -> bool:
        """Make a delivery PENDING, due when its job's earlier ones are done; False when it does not exist."""
        position, ordinal = place
        condition = and_(deliveries.c.position == position, deliveries.c.ordinal == ordinal)
        with self._database.write() as connection:
            found = connection.execute(
                select(deliveries.c.position).where(deliveries.c.webhook_key == webhook_key, condition)
            )
            if found.first() is None:
                return False
            self._redeliver(connection, webhook_key, condition, 1, now)
            return True

    def redeliver(
        self, webhook_key: str, states: frozenset[DeliveryState], after: tuple[int, int], limit: int, now: int
    ) -> tuple[int, tuple[int, int] | None]:
        """Make deliveries after a place PENDING; return how many, and the next place, None when there are no more."""
        condition = and_(_after(after), _in(states))
        with self._database.write() as connection:
            changed = self._redeliver(connection, webhook_key, condition, limit, now)
        return len(changed), changed[-1] if len(changed) == limit else None

    def _redeliver(
        self, connection: Connection, webhook_key: str, condition: ColumnElement[bool], limit: int, now: int
    ) -> list[tuple[int, int]]:
        """Make deliveries PENDING whose attempt does not run, in order; return their places."""
        webhook = waiting.lock(connection, [webhook_key]).get(webhook_key)
        if webhook is None:
            return []
        wanted = (
            select(deliveries.c.position, deliveries.c.ordinal)
            .where(deliveries.c.webhook_key == webhook_key, condition, waiting.unlocked)
            .order_by(deliveries.c.position, deliveries.c.ordinal)
            .limit(limit)
            .with_for_update()
        )
        places = [(position, ordinal) for position, ordinal in connection.execute(wanted, {"now": now})]
        if places:
            rows = [{"key": webhook_key, "at": position, "nth": ordinal} for position, ordinal in places]
            connection.execute(_REDELIVER, rows)
            waiting.unschedule(connection, webhook, now)
            waiting.schedule_between(connection, webhook, places[0][0], places[-1][0], now)
        return places

    def trim_deliveries(self, before: int, limit: int, now: int) -> int:
        """Let deliveries that wait since before a time die, and forget those that ended then, at most `limit` each."""
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim deliveries"):
                return 0
            expired = self._expire(connection, before, limit, now)
            return expired + self._forget(connection, before, limit)

    def _expire(self, connection: Connection, before: int, limit: int, now: int) -> int:
        old = select(*DELIVERY_COLUMNS).where(pending, deliveries.c.create_time < before).limit(limit)
        keys = {row.webhook_key for row in connection.execute(old)}
        if not keys:
            return 0
        locked = waiting.lock(connection, keys)
        stale = old.where(waiting.unlocked, deliveries.c.webhook_key.in_(sorted(locked)))
        rows = [delivery_of(row) for row in connection.execute(stale, {"now": now})]
        rows.sort(key=lambda one: (one.webhook_key, one.position, one.ordinal))
        if rows:
            connection.execute(_EXPIRE, [_expiry_row(one, now) for one in rows])
        for webhook in locked.values():
            waiting.schedule(connection, webhook, now)
        return len(rows)

    def _forget(self, connection: Connection, before: int, limit: int) -> int:
        old = (
            select(deliveries.c.webhook_key, deliveries.c.position, deliveries.c.ordinal)
            .where(over, deliveries.c.end_time < before)
            .order_by(deliveries.c.end_time)
            .limit(limit)
        )
        places = sorted(tuple(place) for place in connection.execute(old))
        rows = [{"key": key, "at": position, "nth": ordinal} for key, position, ordinal in places]
        if rows:
            connection.execute(delete(deliveries).where(_IS_ROW, over), rows)
        return len(rows)


def _place_of(claimed: ClaimedDelivery) -> tuple[str, int, int]:
    """Return the key by which deliveries are locked in order."""
    return claimed.webhook_key, claimed.position, claimed.ordinal


def _row_of(claimed: ClaimedDelivery) -> dict[str, Any]:
    return {"key": claimed.webhook_key, "at": claimed.position, "nth": claimed.ordinal}


def _conclusion(one: FinishedAttempt, now: int) -> dict[str, Any]:
    claimed, waits = one.claimed, one.state is DeliveryState.PENDING
    return _row_of(claimed) | {
        "fence": claimed.fence,
        "to": one.state.value,
        "list": attempts_text([*claimed.attempts, one.attempt]),
        "tried": claimed.tries + 1,
        "first": one.attempt.time if claimed.first is None else claimed.first,
        "next": one.next_attempt_time if waits else None,
        "end": None if waits else now,
    }


def _expiry_row(delivery: Delivery, now: int) -> dict[str, Any]:
    end = Attempt(now, 0, None, EXPIRED_MESSAGE)
    return {
        "key": delivery.webhook_key,
        "at": delivery.position,
        "nth": delivery.ordinal,
        "list": attempts_text([*delivery.attempts, end]),
        "end": now,
    }
