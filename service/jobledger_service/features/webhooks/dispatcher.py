"""Attempts deliveries that are due: claims them under a lease, posts them, and notes what came of it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.duty import Ran, perform
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.model.states import DeliveryState, WebhookState

from .deliveries import Schedule, delivery_id
from .ports import Claimed, DeliveryStore, Finished, Post, Room
from .rules import Webhook, answered

log = logging.getLogger(__name__)

GATHER: Final = 0.005
"""Seconds for which attempts that end are gathered, so that one transaction notes several."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How deliveries are made: attempts at once, in all and of one webhook; times in microseconds.

    An attempt whose `lease` ends without a word is made again. A webhook that fails for `pause_after` is paused.
    """

    schedule: Schedule
    at_once: int
    at_once_of_one: int
    lease: int
    pause_after: int


@dataclass(slots=True)
class WebhookDelivery:
    """One process's attempts. What came of them and what is claimed next share a transaction."""

    deliveries: DeliveryStore
    queries: Queries
    committer: Committer
    post: Post
    clock: Clock
    roll: Callable[[], float]
    rules: DeliveryRules
    attempted: Callable[[str], None]
    """Hears of each attempt: `delivered`, `failed`, or `dead`."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict["asyncio.Task[None]", Claimed] = field(default_factory=dict)
    _finished: list[Finished] = field(default_factory=list)

    async def run(self, ran: Ran) -> None:
        """Attempt what is due, on news, until cancelled; then give back the rest."""
        try:
            await perform("webhooks", self.once, None, self.news, ran)
        finally:
            await self._break_off()

    async def once(self) -> bool:
        """Note what is finished and begin what is due; there is no more until there is news."""
        await asyncio.sleep(GATHER if self._running else 0)
        now, finished = self.clock(), self._finished
        room = self._room()
        if not finished and (room.total <= 0 or not await self.queries.run(self.deliveries.is_due, now)):
            return False
        self._finished = []
        turn = partial(self.deliveries.turn, finished, self._judge, room, now, self.rules.lease)
        try:
            claimed = await self.committer.maintain(turn)
        except BaseException:
            self._finished = finished + self._finished
            raise
        for one in claimed:
            self._running[asyncio.create_task(self._attempt(one), name="webhook attempt")] = one
        return False

    def _room(self) -> Room:
        busy = Counter(claimed.webhook_key for claimed in self._running.values())
        return Room(self.rules.at_once - len(self._running), self.rules.at_once_of_one, busy)

    async def _attempt(self, claimed: Claimed) -> None:
        message_id = delivery_id(claimed.webhook_id, claimed.position, claimed.ordinal)
        try:
            attempt = await self.post(claimed.url, claimed.secrets, message_id, claimed.body)
            again = None
            if not attempt.succeeded:
                first = attempt.time if claimed.first is None else claimed.first
                again = self.rules.schedule.next(claimed.tries + 1, first, attempt, self.roll())
            state = DeliveryState.PENDING if again is not None else DeliveryState.DEAD
            state = DeliveryState.DELIVERED if attempt.succeeded else state
            self._finished.append(Finished(claimed, attempt, state, again))
            self.attempted("failed" if state is DeliveryState.PENDING else state.lower())
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            self.news.set()

    def _judge(self, webhook: Webhook, finished: Sequence[Finished]) -> Webhook:
        """Return the webhook after attempts: one that succeeded speaks for it, else the first that failed."""
        attempts = [one.attempt for one in finished]
        failed_at = None if any(one.succeeded for one in attempts) else min(one.time for one in attempts)
        gone = any(one.gone for one in attempts)
        after = answered(webhook, failed_at, gone=gone, pause_after=self.rules.pause_after, now=self.clock())
        if after.state is not webhook.state:
            word = "disabled" if after.state is WebhookState.DISABLED else "paused"
            log.warning("webhook %s of owner %s is %s: %s", after.webhook_id, after.owner, word, after.state_reason)
        return after

    async def _break_off(self) -> None:
        """End attempts that run, and give their deliveries back, so that nobody has to wait for their leases."""
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        now, nothing = self.clock(), Room(0, 0, {})
        finished, broken = self._finished, [one for task, one in running.items() if task.cancelled()]
        try:
            if finished:
                turn = partial(self.deliveries.turn, finished, self._judge, nothing, now, self.rules.lease)
                await self.committer.maintain(turn)
            if broken:
                await self.committer.maintain(partial(self.deliveries.release, broken))
        except Refusal as refusal:
            log.warning("deliveries that were broken off wait for their leases: %s", refusal)
