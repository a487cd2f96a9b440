"""Records for each webhook what the ledger says: event by event, in order, exactly once."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from msgspec.structs import replace

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import EventRow, ReadStore
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.states import DeliveryState

from .deliveries import Attempt, Delivery
from .event_types import WebhookEventType, event_types, reached
from .ports import Draft, Filled, Happening, WebhookCodec, WebhookStore
from .rules import Missed, Webhook

log = logging.getLogger(__name__)

PAGE: Final = 512
GATHER: Final = 0.02
"""Seconds from a commit until it is read, so that the events of several commits are recorded together."""
MOST_UNRECORDED: Final = 5_000
UNRECORDED_FOR: Final = SECOND
"""Events that concern no webhook are passed over without a write, as many as this, for as long as this."""
PERCENTS_KEPT: Final = 10_000
MAX_ERROR: Final = 300


@dataclass(slots=True)
class WebhookFill:
    """Reads on from the place that is recorded, and records deliveries and the new place in one transaction.

    Several processes may try: the one that finds the place where it read from has done it. The others leave it to that
    one, and look again when their time has come, whatever they commit meanwhile.
    `recorded` is called when there are new deliveries.
    """

    store: ReadStore
    webhooks: WebhookStore
    codec: WebhookCodec
    queries: Queries
    committer: Committer
    clock: Clock
    recorded: Callable[[], None]
    unreadable: UnreadableRows
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _listens: bool = False
    _seen: int = 0
    _written: int = 0
    _percents: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)

    def heard(self) -> None:
        """Hear of a commit; where there are no webhooks, or another process records, it is nothing to this duty."""
        if self._listens:
            self.news.set()

    async def once(self) -> bool:
        """Record what follows; return whether there is more."""
        await asyncio.sleep(GATHER if self._listens else 0)
        place = await self.queries.run(self.webhooks.place)
        self._listens = place.any
        if not place.any:
            return False
        filled, complete = await self.queries.run(self._read, place.position, max(place.position, self._seen))
        if filled.trimmed is not None:
            log.error("history was trimmed before webhooks had read it: %s", _span(filled))
        if self._is_worth_a_write(filled):
            missed = None
            if filled.trimmed is not None:
                missed = Missed(filled.since + 1, filled.trimmed, self.clock())
            if not await self.committer.maintain(partial(self.webhooks.fill, filled, missed, self.clock())):
                self._listens = False
                return False
            self._written = self.clock()
        self._seen = filled.through
        if filled.drafts:
            self.recorded()
        return not complete

    def _is_worth_a_write(self, filled: Filled) -> bool:
        passed = filled.through - filled.since
        if filled.drafts or filled.trimmed is not None or passed >= MOST_UNRECORDED:
            return True
        return passed > 0 and self.clock() >= self._written + UNRECORDED_FOR

    def _read(self, since: int, start: int) -> tuple[Filled, bool]:
        """Return what follows `start`, which is the place `since` or some way after it, and whether it is all."""
        read = self.store.events(start, PAGE)
        # The webhooks are read after the events: one that is not there yet has no claim to events before it.
        watching: dict[str, list[Webhook]] = {}
        for webhook in self.webhooks.recording({_owner(row) for row in read.rows}):
            watching.setdefault(webhook.owner, []).append(webhook)
        drafts: list[Draft] = []
        for row in read.rows:
            mine = watching.get(_owner(row))
            if mine:
                drafts += self._drafts_of(row, mine)
        trimmed = read.trimmed if read.trimmed > start else None
        return Filled(since, max(read.through, trimmed or 0), trimmed, drafts), read.complete

    def _drafts_of(self, row: EventRow, webhooks: Sequence[Webhook]) -> list[Draft]:
        """Return the deliveries of one event; of one that cannot be read, a dead one for each webhook of its owner."""
        try:
            happening = self.codec.read(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            mine = [webhook for webhook in webhooks if webhook.after < row.position]
            return [self._dead(row, webhook, 0, webhook.event_types[0], error) for webhook in mine]
        return list(self._drafts(row, happening, webhooks))

    def _drafts(self, row: EventRow, happening: Happening, webhooks: Sequence[Webhook]) -> Iterator[Draft]:
        """Yield the deliveries of one event; a body is made once for all that have the same."""
        concerned = [
            webhook
            for webhook in webhooks
            if webhook.after < happening.position
            and webhook.concerns(happening.owner, happening.kind, happening.labels)
        ]
        before = self._percent_before(happening) if any(webhook.percents for webhook in concerned) else 0
        bodies: dict[tuple[WebhookEventType, tuple[int, ...]], bytes] = {}
        for webhook in concerned:
            percents = tuple(reached(webhook.percents, before, happening.percent))
            for ordinal, told in enumerate(event_types(happening.changes, progressed=bool(percents))):
                if told in webhook.event_types:
                    what = (told, percents if told is WebhookEventType.JOB_PROGRESS else ())
                    try:
                        if what not in bodies:
                            bodies[what] = self.codec.body(told, happening, percents)
                    except Exception as error:  # noqa: BLE001  as above
                        yield self._dead(row, webhook, ordinal, told, error)
                        continue
                    yield Draft(self._delivery(webhook, row, ordinal, told), bodies[what])

    def _delivery(self, webhook: Webhook, row: EventRow, ordinal: int, told: WebhookEventType) -> Delivery:
        return Delivery(webhook.key, row.position, ordinal, row.job_key, told, self.clock())

    def _dead(self, row: EventRow, webhook: Webhook, ordinal: int, told: WebhookEventType, error: Exception) -> Draft:
        """Return a delivery that is dead from the start, as what is stored of its event cannot be shown."""
        self.unreadable.add("webhooks", f"the event at position {row.position}", error)
        attempt = Attempt(self.clock(), 0, None, f"the event cannot be shown: {error}"[:MAX_ERROR])
        dead = replace(
            self._delivery(webhook, row, ordinal, told),
            state=DeliveryState.DEAD,
            attempts=(attempt,),
            end_time=attempt.time,
        )
        return Draft(dead, self.codec.unreadable(told, row))

    def _percent_before(self, happening: Happening) -> float:
        """Return how far a job was before an event: from memory, else from its last event; 0 when that is not known."""
        revision, percent = self._percents.pop(happening.job_key, (0, 0.0))
        if revision != happening.revision - 1:
            message = self.webhooks.event_before(happening.job_key, happening.position)
            percent = 0.0 if message is None or happening.revision == 1 else self._percent_of(message)
        self._percents[happening.job_key] = (happening.revision, happening.percent)
        if len(self._percents) > PERCENTS_KEPT:
            self._percents.popitem(last=False)
        return percent

    def _percent_of(self, message: bytes) -> float:
        try:
            return self.codec.percent(message)
        except Exception:  # noqa: BLE001  it has been told when its own turn came
            return 0.0


def _owner(row: EventRow) -> str:
    return owner_of(row.job_key)


def _span(filled: Filled) -> str:
    return f"positions {filled.since + 1} to {filled.trimmed}"
