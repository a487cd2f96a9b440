"""A delivery: one event for one webhook, and its retries.

`DeliveryCapacity` shares by itself: deliveries wait in the database, and one claim divides what is free among the
owners that it finds.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import DeliveryState

from .rules import WebhookEventType, owner_of

ATTEMPTS_KEPT: Final = 20
OK: Final = range(200, 300)
GONE: Final = 410
_ID: Final = re.compile(r"([^_]*)_([0-9]{1,18})_([0-9]{1,18})")


class DeliveryAttempt(MsgStruct, frozen=True, array_like=True):
    """One try: when it began, how long it took, both in microseconds; `error` is empty when it succeeded.

    `retry_after` is the wait that the receiver asked for, in microseconds.
    """

    start_time: Micros
    duration: int
    status_code: int | None
    error: str
    retry_after: int = 0

    @property
    def end_time(self) -> int:
        """When it ended, in microseconds."""
        return self.start_time + self.duration

    @property
    def succeeded(self) -> bool:
        """Whether the receiver accepted the delivery."""
        return self.status_code in OK

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more deliveries, as Standard Webhooks defines."""
        return self.status_code == GONE


class Delivery(MsgStruct, frozen=True):
    """One event for one webhook. `position` and `ordinal` are its place among the deliveries of its webhook.

    `tries` counts the failed attempts of this round, which began at `first_attempt_time`; `attempt_count` counts all,
    and tells an attempt from later ones. Lists are without `body`.
    """

    webhook_key: str
    position: int
    ordinal: int
    job_key: str
    event_type: WebhookEventType
    create_time: Micros
    state: DeliveryState = DeliveryState.PENDING
    attempts: tuple[DeliveryAttempt, ...] = ()
    attempt_count: int = 0
    next_attempt_time: Micros | None = None
    end_time: Micros | None = None
    tries: int = 0
    first_attempt_time: Micros | None = None
    body: bytes = b""

    @property
    def place(self) -> tuple[str, int, int]:
        """The key of its row, by which deliveries are locked in order."""
        return self.webhook_key, self.position, self.ordinal

    @property
    def webhook_id(self) -> str:
        """The id of its webhook."""
        return self.webhook_key.partition("/")[2]

    @property
    def delivery_id(self) -> str:
        """Its id."""
        return delivery_id(self.webhook_id, self.position, self.ordinal)

    @property
    def job_id(self) -> str:
        """The job of its event."""
        return job_id_of(self.job_key)

    def attempted(self, attempt: DeliveryAttempt, next_time: Micros | None) -> "Delivery":
        """Return the delivery after an attempt, which is the last one unless there is a time of the next."""
        failed = DeliveryState.DEAD if next_time is None else DeliveryState.PENDING
        return replace(
            self,
            state=DeliveryState.DELIVERED if attempt.succeeded else failed,
            attempts=(*self.attempts, attempt)[-ATTEMPTS_KEPT:],
            tries=self.tries + 1,
            first_attempt_time=attempt.start_time if self.first_attempt_time is None else self.first_attempt_time,
            next_attempt_time=next_time,
            end_time=attempt.end_time if next_time is None else None,
        )


class DeliveryCapacity(MsgStruct, frozen=True):
    """The number of deliveries that a process may hold: in all, and of one webhook; `busy` counts them by webhook."""

    total: int
    per_webhook: int
    busy: Mapping[str, int]

    def busy_owners(self) -> Counter[str]:
        """Return the number of held deliveries by owner."""
        busy = Counter[str]()
        for key, count in self.busy.items():
            busy[owner_of(key)] += count
        return busy

    def share(self, owners: int) -> int:
        """Return the share of each of this many owners: an equal part of all, rounded up, with one for a newcomer.

        So an owner whose receivers are slow never holds all when the first delivery of another owner is due.
        """
        return -(-(self.total + sum(self.busy.values())) // (owners + 1))


def delivery_id(webhook_id: str, position: int, ordinal: int) -> str:
    """Return the id of a delivery, the same in every attempt. It has no dots: they separate the signed parts."""
    return f"{webhook_id}_{position}_{ordinal}"


def parse_delivery_id(text: str, webhook_id: str) -> tuple[int, int] | None:
    """Return the position and ordinal of a webhook's delivery id; None for any other text."""
    match = _ID.fullmatch(text)
    return (int(match[2]), int(match[3])) if match and match[1] == webhook_id else None


class Schedule(MsgStruct, frozen=True):
    """The schedule of retries, until `window` microseconds after the first attempt."""

    backoff: RetryPolicy
    window: int

    def next(self, tries: int, first: Micros, attempt: DeliveryAttempt, jitter_sample: float) -> Micros | None:
        """Return the time of the next attempt after `tries` failed ones, and this the last; None when it is dead.

        The last attempt is made at the end of the window, so that the whole of it is used. A wait that the receiver
        asked for is kept, within the window.
        """
        end = first + self.window
        if attempt.gone or attempt.end_time >= end:
            return None
        return Micros(min(attempt.end_time + max(self.backoff.backoff(tries, jitter_sample), attempt.retry_after), end))


def schedule(initial_backoff: int, window: int) -> Schedule:
    """Return the schedule that begins with a wait, and waits three times as long each time, up to three hours."""
    ceiling = max(3 * HOUR, initial_backoff)
    return Schedule(RetryPolicy(1, initial_backoff, multiplier=3.0, max_backoff=ceiling, jitter=0.1), window)
