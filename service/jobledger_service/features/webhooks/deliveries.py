"""A delivery: one event for one webhook, and its retries."""

from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.limits import HOUR
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import DeliveryState

from .event_types import WebhookEventType

ATTEMPTS_KEPT: Final = 20
OK: Final = range(200, 300)
GONE: Final = 410


class Attempt(MsgStruct, frozen=True, array_like=True):
    """One try: when it began, how long it took, both in microseconds; `error` is empty when it succeeded.

    `retry_after` is the wait that the receiver asked for, in microseconds.
    """

    time: int
    duration: int
    status_code: int | None
    error: str
    retry_after: int = 0

    @property
    def end_time(self) -> int:
        """When it ended, in microseconds."""
        return self.time + self.duration

    @property
    def succeeded(self) -> bool:
        """Whether the receiver accepted the delivery."""
        return self.status_code in OK

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more deliveries, as Standard Webhooks defines."""
        return self.status_code == GONE


class Delivery(MsgStruct, frozen=True):
    """One event for one webhook. `position` and `ordinal` are its place among the deliveries of its webhook."""

    webhook_key: str
    position: int
    ordinal: int
    job_key: str
    event_type: WebhookEventType
    create_time: int
    state: DeliveryState = DeliveryState.PENDING
    attempts: tuple[Attempt, ...] = ()
    attempt_count: int = 0
    next_attempt_time: int | None = None
    end_time: int | None = None


def delivery_id(webhook_id: str, position: int, ordinal: int) -> str:
    """Return the id of a delivery, the same in every attempt. It has no dots: they separate the signed parts."""
    return f"{webhook_id}_{position}_{ordinal}"


def parse_delivery_id(given: str, webhook_id: str) -> tuple[int, int] | None:
    """Return the position and ordinal of a webhook's delivery id; None for any other text."""
    webhook, _, rest = given.partition("_")
    position, _, ordinal = rest.partition("_")
    numbers = (position, ordinal)
    if webhook != webhook_id or not all(n.isascii() and n.isdecimal() and len(n) <= 18 for n in numbers):  # noqa: PLR2004  of 64 bits
        return None
    return int(position), int(ordinal)


class Schedule(MsgStruct, frozen=True):
    """The schedule of retries, until `window` microseconds after the first attempt."""

    backoff: RetryPolicy
    window: int

    def next(self, tries: int, first: int, attempt: Attempt, jitter_sample: float) -> int | None:
        """Return the time of the next attempt after `tries` failed ones, and this the last; None when it is dead.

        The last attempt is made at the end of the window, so that the whole of it is used. A wait that the receiver
        asked for is kept, within the window.
        """
        end = first + self.window
        if attempt.gone or attempt.end_time >= end:
            return None
        return min(attempt.end_time + max(self.backoff.backoff(tries, jitter_sample), attempt.retry_after), end)


def schedule(initial_backoff: int, window: int) -> Schedule:
    """Return the schedule that begins with a wait, and waits three times as long each time, up to three hours."""
    ceiling = max(3 * HOUR, initial_backoff)
    return Schedule(RetryPolicy(1, initial_backoff, multiplier=3.0, max_backoff=ceiling, jitter=0.1), window)
