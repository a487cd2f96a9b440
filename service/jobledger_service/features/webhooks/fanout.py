"""Records deliveries for each webhook from the ledger: event by event, in order, exactly once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from msgspec.structs import replace

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.committer import UPKEEP_ROWS
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.states import DeliveryState
from jobledger_service.core.store.reads import EventRow

from .bodies import WebhookCodec
from .deliveries import Attempt, Delivery
from .event_types import WebhookEventType, event_types, reached
from .rules import Missed, Webhook
from .store import SqlWebhookStore
from .values import Draft, FanoutBatch, WebhookEvent

log = structlog.get_logger(__name__)

PAGE_SIZE: Final = 512
MAX_DELIVERIES: Final = 1_000
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The deliveries and their bytes at which a transaction that records them ends, with the event that is reached then."""
GATHER_SECONDS: Final = 0.02
"""Seconds from a commit to its reading, so that the events of several commits are recorded together."""
MAX_UNRECORDED_EVENTS: Final = 5_000
MAX_UNRECORDED_TIME: Final = SECOND
"""The number of events without webhooks that are skipped without a write, and for how long."""
MAX_REMEMBERED_PERCENTS: Final = 10_000
MAX_ERROR_LENGTH: Final = 300


@dataclass(slots=True)
class WebhookFanout:
    """Reads on from the place that is recorded, and records deliveries and the new place in one transaction.

    Several processes may try: the one that finds the place where it read from has done it. The others leave it to that
    one, and look again when their time has come, whatever they commit meanwhile.
    `on_recorded` is called when there are new deliveries.
    """

    kernel: Kernel
    webhooks: SqlWebhookStore
    on_recorded: Callable[[], None]
    codec: WebhookCodec = field(default_factory=WebhookCodec)
    wake_event: asyncio.Event = field(default_factory=asyncio.Event)
    _has_webhooks: bool = False
    _seen: int = 0
    _written: int = 0
    _percents: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)

    def on_commit(self) -> None:
        """React to a commit; nothing happens without webhooks, or when another process records."""
        if self._has_webhooks:
            self.wake_event.set()

    async def once(self) -> bool:
        """Record the next events; return whether there are more."""
        await asyncio.sleep(GATHER_SECONDS if self._has_webhooks else 0)
        recorded = await self.kernel.readers.for_server(self.webhooks.fanout_position)
        self._has_webhooks = recorded is not None
        if recorded is None:
            return False
        batch, complete = await self.kernel.readers.for_server(self._read, recorded, max(recorded, self._seen))
        if batch.trimmed is not None:
            log.error("history was trimmed before webhooks had read it", first=batch.since + 1, last=batch.trimmed)
        if self._should_write(batch):
            missed = None
            if batch.trimmed is not None:
                missed = Missed(batch.since + 1, batch.trimmed, self.kernel.clock())
            record, rows = partial(self.webhooks.record_batch, batch, missed, self.kernel.clock()), len(batch.drafts)
            if not await self.kernel.committer.run_on_writer(record, max(UPKEEP_ROWS, rows)):
                self._has_webhooks = False
                return False
            self._written = self.kernel.clock()
        self._seen = batch.through
        if batch.drafts:
            self.on_recorded()
        return not complete

    def _should_write(self, batch: FanoutBatch) -> bool:
        passed = batch.through - batch.since
        if batch.drafts or batch.trimmed is not None or passed >= MAX_UNRECORDED_EVENTS:
            return True
        return passed > 0 and self.kernel.clock() >= self._written + MAX_UNRECORDED_TIME

    def _read(self, since: int, start: int) -> tuple[FanoutBatch, bool]:
        """Return the events after `start`, which is the place `since` or later, and whether these are all."""
        read = self.kernel.store.events(start, PAGE_SIZE)
        # the webhooks are read after the events: a later webhook does not receive earlier events
        watching: dict[str, list[Webhook]] = {}
        for webhook in self.webhooks.recording({_owner(row) for row in read.rows}):
            watching.setdefault(webhook.owner, []).append(webhook)
        drafts, size = list[Draft](), 0
        trimmed = read.trimmed if read.trimmed > start else None
        for row in read.rows:
            more = self._drafts_of(row, watching.get(_owner(row), ()))
            drafts += more
            size += sum(len(draft.body) for draft in more)
            if len(drafts) >= MAX_DELIVERIES or size >= MAX_BODY_BYTES:
                return FanoutBatch(since, row.position, trimmed, drafts), False
        return FanoutBatch(since, max(read.through, trimmed or 0), trimmed, drafts), read.complete

    def _drafts_of(self, row: EventRow, webhooks: Sequence[Webhook]) -> list[Draft]:
        """Return the deliveries of one event; of one that cannot be read, a dead one for each webhook of its owner."""
        try:
            event = self.codec.read(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            mine = [webhook for webhook in webhooks if webhook.after < row.position]
            return [self._dead(row, webhook, 0, webhook.event_types[0], error) for webhook in mine]
        return list(self._drafts(row, event, webhooks))

    def _drafts(self, row: EventRow, event: WebhookEvent, webhooks: Sequence[Webhook]) -> Iterator[Draft]:
        """Yield the deliveries of one event; equal bodies are made once."""
        concerned = [
            webhook
            for webhook in webhooks
            if webhook.after < event.position and webhook.concerns(event.owner, event.kind, event.labels)
        ]
        before = self._percent_before(event) if any(webhook.percents for webhook in concerned) else 0
        bodies: dict[tuple[WebhookEventType, tuple[int, ...]], bytes] = {}
        for webhook in concerned:
            percents = tuple(reached(webhook.percents, before, event.percent))
            for ordinal, event_type in enumerate(event_types(event.changes, progressed=bool(percents))):
                if event_type in webhook.event_types:
                    what = (event_type, percents if event_type is WebhookEventType.JOB_PROGRESS else ())
                    try:
                        if what not in bodies:
                            bodies[what] = self.codec.body(event_type, event, percents)
                    except Exception as error:  # noqa: BLE001  as above
                        yield self._dead(row, webhook, ordinal, event_type, error)
                        continue
                    yield Draft(self._delivery(webhook, row, ordinal, event_type), bodies[what])

    def _delivery(self, webhook: Webhook, row: EventRow, ordinal: int, event_type: WebhookEventType) -> Delivery:
        return Delivery(webhook.key, row.position, ordinal, row.job_key, event_type, self.kernel.clock())

    def _dead(
        self, row: EventRow, webhook: Webhook, ordinal: int, event_type: WebhookEventType, error: Exception
    ) -> Draft:
        """Return a delivery that is DEAD from the start, as its stored event cannot be shown."""
        self.kernel.unreadable.add("webhooks", f"the event at position {row.position}", error)
        attempt = Attempt(self.kernel.clock(), 0, None, f"the event cannot be shown: {error}"[:MAX_ERROR_LENGTH])
        dead = replace(
            self._delivery(webhook, row, ordinal, event_type),
            state=DeliveryState.DEAD,
            attempts=(attempt,),
            end_time=attempt.time,
        )
        return Draft(dead, self.codec.unreadable(event_type, row))

    def _percent_before(self, event: WebhookEvent) -> float:
        """Return a job's percent before an event: from memory, else from its last event; 0 when it is not known."""
        revision, percent = self._percents.pop(event.job_key, (0, 0.0))
        if revision != event.revision - 1:
            message = self.webhooks.event_before(event.job_key, event.position)
            percent = 0.0 if message is None or event.revision == 1 else self._percent_of(message)
        self._percents[event.job_key] = (event.revision, event.percent)
        if len(self._percents) > MAX_REMEMBERED_PERCENTS:
            self._percents.popitem(last=False)
        return percent

    def _percent_of(self, message: bytes) -> float:
        try:
            return self.codec.percent(message)
        except Exception:  # noqa: BLE001  it was reported when its own turn came
            return 0.0


def _owner(row: EventRow) -> str:
    return owner_of(row.job_key)
