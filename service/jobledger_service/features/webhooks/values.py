"""What the stores of webhooks hand over, and take."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.change import Change
from jobledger_service.core.model.states import DeliveryState

from .deliveries import Attempt, Delivery
from .rules import owner_of


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
