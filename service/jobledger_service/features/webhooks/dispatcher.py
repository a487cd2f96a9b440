"""Attempts deliveries that are due: claims them under a lease, posts them, and records the outcome."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.model.states import DeliveryState, WebhookState

from .deliveries import Schedule, delivery_id
from .ports import ClaimedDelivery, DeliveryCapacity, DeliveryStore, FinishedAttempt, Post
from .rules import Webhook, answered

log = logging.getLogger(__name__)

GATHER_SECONDS: Final = 0.005
"""Seconds for which attempts that end are gathered, so that one transaction notes several."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How deliveries are made: attempts at once, in all and of one webhook; times in microseconds.

    An attempt whose `lease` ends without a word is made again. A webhook that fails for `pause_after` is paused.
    """

    schedule: Schedule
    max_concurrent: int
    max_concurrent_per_webhook: int
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
    sample_jitter: Callable[[], float]
    rules: DeliveryRules
    on_attempt: Callable[[str], None]
    """Hears of each attempt: `delivered`, `failed`, or `dead`."""
    wake_event: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict["asyncio.Task[None]", ClaimedDelivery] = field(default_factory=dict)
    _finished: list[FinishedAttempt] = field(default_factory=list)

    async def once(self) -> bool:
        """Note what is finished and begin what is due; there is no more until there is news."""
        await asyncio.sleep(GATHER_SECONDS if self._running else 0)
        now, finished = self.clock(), self._finished
        capacity = self._capacity()
        if not finished and (capacity.total <= 0 or not await self.queries.run(self.deliveries.is_due, now)):
            return False
        self._finished = []
        settle = partial(self.deliveries.settle_and_claim, finished, self._decide, capacity, now, self.rules.lease)
        try:
            claimed = await self.committer.run_on_writer(settle)
        except BaseException:
            self._finished = finished + self._finished
            raise
        for one in claimed:
            self._running[asyncio.create_task(self._attempt(one), name="webhook attempt")] = one
        return False

    def _capacity(self) -> DeliveryCapacity:
        busy = Counter(claimed.webhook_key for claimed in self._running.values())
        return DeliveryCapacity(
            self.rules.max_concurrent - len(self._running), self.rules.max_concurrent_per_webhook, busy
        )

    async def _attempt(self, claimed: ClaimedDelivery) -> None:
        message_id = delivery_id(claimed.webhook_id, claimed.position, claimed.ordinal)
        try:
            attempt = await self.post(claimed.url, claimed.secrets, message_id, claimed.body)
            next_time = None
            if not attempt.succeeded:
                first = attempt.time if claimed.first is None else claimed.first
                next_time = self.rules.schedule.next(claimed.tries + 1, first, attempt, self.sample_jitter())
            state = DeliveryState.PENDING if next_time is not None else DeliveryState.DEAD
            state = DeliveryState.DELIVERED if attempt.succeeded else state
            self._finished.append(FinishedAttempt(claimed, attempt, state, next_time))
            self.on_attempt("failed" if state is DeliveryState.PENDING else state.lower())
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            self.wake_event.set()

    def _decide(self, webhook: Webhook, finished: Sequence[FinishedAttempt]) -> Webhook:
        """Return the webhook after attempts: one that succeeded speaks for it, else the first that failed."""
        attempts = [one.attempt for one in finished]
        failed_at = None if any(one.succeeded for one in attempts) else min(one.time for one in attempts)
        gone = any(one.gone for one in attempts)
        after = answered(webhook, failed_at, gone=gone, pause_after=self.rules.pause_after, now=self.clock())
        if after.state is not webhook.state:
            word = "disabled" if after.state is WebhookState.DISABLED else "paused"
            log.warning("webhook %s of owner %s is %s: %s", after.webhook_id, after.owner, word, after.state_reason)
        return after

    async def abort(self) -> None:
        """End attempts that run, and give their deliveries back, so that nobody has to wait for their leases."""
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        now, nothing = self.clock(), DeliveryCapacity(0, 0, {})
        finished, broken = self._finished, [one for task, one in running.items() if task.cancelled()]
        try:
            if finished:
                settle = partial(
                    self.deliveries.settle_and_claim, finished, self._decide, nothing, now, self.rules.lease
                )
                await self.committer.run_on_writer(settle)
            if broken:
                await self.committer.run_on_writer(partial(self.deliveries.release, broken))
        except Refusal as refusal:
            log.warning("aborted deliveries wait for their leases to expire: %s", refusal)
