"""Attempts deliveries that are due: claims them under a lease, posts them, and records the outcome."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.model.states import DeliveryState, WebhookState

from .deliveries import Delivery, DeliveryCapacity, Schedule, schedule
from .delivery_store import SqlDeliveryStore
from .rules import Webhook, answered

if TYPE_CHECKING:
    from .http_post import HttpPost

log = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.005
"""Seconds for which ended attempts are gathered, so that one transaction records several."""
INITIAL_BACKOFF_SECONDS: Final = 5.0
"""Seconds after the first failed attempt of a delivery, enough for a restart; the wait triples each time, up to 3 h."""
PAUSE_AFTER_SECONDS: Final = 72_000.0
"""Seconds for which all attempts of a webhook fail before it is PAUSED: 20 h, before deliveries are DEAD after 24 h."""
LEASE_MARGIN_SECONDS: Final = 1.0
"""Seconds beyond twice the time of an attempt after which it counts as lost: its outcome waits for the writer, too."""


@dataclass(slots=True)
class WebhookDispatcher:
    """One process's attempts. One transaction records outcomes and claims the next deliveries.

    An attempt whose lease expires is made again.
    """

    kernel: Kernel
    deliveries: SqlDeliveryStore
    post: Callable[[], "HttpPost"]
    on_attempt: Callable[[str], None]
    """Called with the outcome of each attempt: `delivered`, `failed`, or `dead`."""
    wake_event: asyncio.Event = field(default_factory=asyncio.Event)
    _schedule: Schedule = field(init=False)
    _settling: "asyncio.Task[None] | None" = None
    _running: dict["asyncio.Task[None]", Delivery] = field(default_factory=dict)
    _finished: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.kernel.settings
        self._schedule = schedule(
            round(INITIAL_BACKOFF_SECONDS * SECOND), round(settings.webhook_retry_window * SECOND)
        )

    async def once(self) -> bool:
        """Record what is finished and start what is due; the rest waits for the wake event."""
        await asyncio.sleep(GATHER_SECONDS if self._running else 0)
        capacity = self._capacity()
        is_due, clock = self.deliveries.is_due, self.kernel.clock
        if self._finished or (capacity.total > 0 and await self.kernel.readers.for_server(is_due, clock())):
            self._settling = asyncio.create_task(self._settle(capacity), name="webhook settling")
            await asyncio.shield(self._settling)
        return False

    async def _settle(self, capacity: DeliveryCapacity) -> None:
        """Record attempts, claim what is due as far as there is room, and start it."""
        lease = round((2 * self.kernel.settings.webhook_timeout + LEASE_MARGIN_SECONDS) * SECOND)
        settle = self.deliveries.settle_and_claim
        finished, self._finished = self._finished, []
        try:
            claimed = await self.kernel.committer.run_on_writer(
                partial(settle, finished, self._decide, capacity, self.kernel.clock(), lease)
            )
        except BaseException:
            self._finished = finished + self._finished
            raise
        for webhook, delivery in claimed:
            self._running[asyncio.create_task(self._attempt(webhook, delivery), name="webhook attempt")] = delivery

    def _capacity(self) -> DeliveryCapacity:
        busy = Counter(delivery.webhook_key for delivery in self._running.values())
        settings = self.kernel.settings
        free = settings.webhook_concurrency - len(self._running)
        return DeliveryCapacity(free, settings.webhook_endpoint_concurrency, busy)

    async def _attempt(self, webhook: Webhook, claimed: Delivery) -> None:
        try:
            secrets = webhook.signing(self.kernel.clock())
            attempt = await self.post()(webhook.url, secrets, claimed.delivery_id, claimed.body)
            next_time = None
            if not attempt.succeeded:
                first = attempt.start_time if claimed.first_attempt_time is None else claimed.first_attempt_time
                next_time = self._schedule.next(claimed.tries + 1, first, attempt, self.kernel.sample_jitter())
            after = claimed.attempted(attempt, next_time)
            self._finished.append(after)
            self.on_attempt("failed" if after.state is DeliveryState.PENDING else after.state.lower())
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            self.wake_event.set()

    def _decide(self, webhook: Webhook, finished: Sequence[Delivery]) -> Webhook:
        """Return the webhook after attempts: one success counts, else the first failure."""
        attempts = [delivery.attempts[-1] for delivery in finished]
        failed_at = (
            None if any(attempt.succeeded for attempt in attempts) else min(attempt.start_time for attempt in attempts)
        )
        gone = any(attempt.gone for attempt in attempts)
        pause_after = round(PAUSE_AFTER_SECONDS * SECOND)
        after = answered(webhook, failed_at, gone=gone, pause_after=pause_after, now=self.kernel.clock())
        if after.state is not webhook.state:
            happened = "a webhook is disabled" if after.state is WebhookState.DISABLED else "a webhook is paused"
            log.warning(happened, webhook_id=after.webhook_id, owner=after.owner, why=after.state_reason)
        return after

    async def abort(self) -> None:
        """Cancel and release running and newly claimed attempts: other servers need not wait for their leases."""
        if self._settling is not None:
            await asyncio.wait([self._settling])
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        broken = [delivery for task, delivery in running.items() if task.cancelled()]
        try:
            if self._finished:
                await self._settle(DeliveryCapacity(0, 0, {}))
            if broken:
                await self.kernel.committer.run_on_writer(partial(self.deliveries.release, broken))
        except Refusal as refusal:
            log.warning("aborted deliveries wait for their leases to expire", why=str(refusal))
