"""The ports of webhooks around the ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.read_ports import EventRow
from jobledger_service.core.model.change import Change
from jobledger_service.core.model.states import DeliveryState

from .deliveries import Attempt, Delivery
from .event_types import WebhookEventType
from .rules import Missed, Webhook, owner_of


class WebhookEvent(MsgStruct, frozen=True):
    """An event as webhooks see it; `message` is for `WebhookCodec.body` alone."""

    position: int
    job_key: str
    owner: str
    kind: str
    labels: Mapping[str, str]
    percent: float
    revision: int
    changes: Sequence[Change]
    message: object


class WebhookCodec(Protocol):
    """Reads stored events, and makes the bodies of deliveries."""

    def read(self, row: EventRow) -> WebhookEvent:
        """Return the content of a stored event."""

    def percent(self, message: bytes) -> float:
        """Return the percent of its job after a stored event, 0 to 100."""

    def body(self, event_type: WebhookEventType, event: WebhookEvent, percents: Sequence[int]) -> bytes:
        """Return the body of a delivery: JSON in UTF-8."""

    def unreadable(self, event_type: WebhookEventType, row: EventRow) -> bytes:
        """Return the body of a delivery of an event that cannot be shown: its place, without its job."""

    def ping(self, webhook: Webhook, now: int) -> bytes:
        """Return the body of a ping."""


class Draft(MsgStruct, frozen=True):
    """A delivery to record, with its body."""

    delivery: Delivery
    body: bytes


class FanoutBatch(MsgStruct, frozen=True):
    """What was read of the ledger for webhooks: everything after `since`, the recorded place, through `through`.

    `trimmed` is the newest position that was gone before it could be read, None when there was all.
    """

    since: int
    through: int
    trimmed: int | None
    drafts: Sequence[Draft]


class ClaimedDelivery(MsgStruct, frozen=True):
    """A delivery to attempt, until its lease ends; `first` is when its first attempt of this round began.

    `tries` counts the failed attempts of this round; `fence` tells this attempt from later ones of the delivery.
    """

    webhook_key: str
    webhook_id: str
    position: int
    ordinal: int
    job_key: str
    url: str
    secrets: Sequence[str]
    body: bytes
    attempts: Sequence[Attempt]
    tries: int
    first: int | None
    fence: int


class FinishedAttempt(MsgStruct, frozen=True):
    """The outcome of an attempt: the state of the delivery, and its next attempt while it is PENDING."""

    claimed: ClaimedDelivery
    attempt: Attempt
    state: DeliveryState
    next_attempt_time: int | None


class FanoutPosition(MsgStruct, frozen=True):
    """The place of webhooks: the position through which events are recorded, and whether there are webhooks."""

    position: int
    has_webhooks: bool


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
        """Return the share of each of this many owners: an equal part of all, rounded up."""
        return -(-(self.total + sum(self.busy.values())) // max(owners, 1))


class WebhookStore(Protocol):
    """Webhooks, and how far the ledger was read for them.

    Writing methods are called on the writer's thread; each is one transaction. Every method raises StoreUnavailable.
    """

    def find(self, key: str) -> Webhook | None:
        """Return a webhook."""

    def of_owner(self, owner: str, after: str, limit: int) -> list[Webhook]:
        """Return an owner's webhooks with ids above `after`, by id."""

    def all_after(self, after: str, limit: int) -> list[Webhook]:
        """Return webhooks of all owners with keys above `after`, by key."""

    def recording(self, owners: Iterable[str]) -> list[Webhook]:
        """Return the webhooks of these owners that record events."""

    def create(self, webhook: Webhook, limit: int) -> Webhook:
        """Add a webhook for later events; return it, or the one with its request_id.

        Raises TooManyWebhooks when its owner has `limit` already.
        """

    def change(self, key: str, decide: Callable[[Webhook], Webhook], now: int) -> Webhook | None:
        """Replace a webhook by the outcome of a decision, and schedule or unschedule its deliveries."""

    def delete(self, key: str, limit: int) -> bool | None:
        """Delete at most `limit` deliveries, then the webhook; return whether it is gone, None if it did not exist."""

    def fanout_position(self) -> FanoutPosition:
        """Return the place of webhooks."""

    def event_before(self, job_key: str, position: int) -> bytes | None:
        """Return the message of a job's last event before a position; None when there is none, or it was trimmed."""

    def record_batch(self, batch: FanoutBatch, missed: Missed | None, now: int) -> bool:
        """Record deliveries and the reached place; False when another process was faster."""


class DeliveriesRead(MsgStruct, frozen=True):
    """A page of deliveries, which may be short; `last` is the last place that was looked at, None on the last page."""

    deliveries: Sequence[Delivery]
    last: tuple[int, int] | None


class DeliveryStore(Protocol):
    """Deliveries. Called as WebhookStore is."""

    def deliveries(
        self, webhook_key: str, states: frozenset[DeliveryState], before: tuple[int, int] | None, limit: int
    ) -> DeliveriesRead:
        """Return deliveries before a place (position, ordinal), newest first, as many as fit into a reply."""

    def is_due(self, now: int) -> bool:
        """Return whether a delivery is due."""

    def settle_and_claim(
        self,
        finished: Sequence[FinishedAttempt],
        decide: Callable[[Webhook, Sequence[FinishedAttempt]], Webhook],
        capacity: DeliveryCapacity,
        now: int,
        lease: int,
    ) -> list[ClaimedDelivery]:
        """Settle attempts, let `decide` update their webhooks, and claim what is due for `lease` µs."""

    def release(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Release deliveries whose attempt was broken off."""

    def release_all(self) -> None:
        """Release the claims of a dead process; only where no other process can claim."""

    def redeliver_one(self, webhook_key: str, place: tuple[int, int], now: int) -> bool:
        """Make a delivery PENDING, due when its job's earlier ones are done; False when it does not exist."""

    def redeliver(
        self, webhook_key: str, states: frozenset[DeliveryState], after: tuple[int, int], limit: int, now: int
    ) -> tuple[int, tuple[int, int] | None]:
        """Make deliveries after a place PENDING; return how many, and the next place, None when there are no more."""

    def trim_deliveries(self, before: int, limit: int, now: int) -> int:
        """Let deliveries that wait since before a time die, and forget those that ended then, at most `limit` each."""


class UnreadableSecretError(Exception):
    """A secret that was sealed by a missing key; the text names the cause."""


class SecretCipher(Protocol):
    """Seals and unseals the secrets of webhooks in the database."""

    def seal(self, secret: str) -> str:
        """Return the stored form of a secret."""

    def open(self, kept: str) -> str:
        """Return the secret of a stored form; raises UnreadableSecretError."""

    def is_current(self, kept: str) -> bool:
        """Whether a stored form is the one that `seal` would make now."""


class Post(Protocol):
    """Posts deliveries."""

    async def __call__(self, url: str, secrets: Sequence[str], message_id: str, body: bytes) -> Attempt:
        """Post a body, signed, and return what happened; never raises for what a receiver or the network does.

        The secrets are as they are kept; one that cannot be read is a failed attempt.
        """
