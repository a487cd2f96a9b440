"""How often a key may call: sliding windows over reads, writes and opened watches, in memory or in a Redis."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from limits import RateLimitItem, WindowStats, parse_many
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from jobledger_service.domain.access import Caller
from jobledger_service.domain.errors import RateLimited
from jobledger_service.domain.limits import SECOND

from .methods import Kind

log = structlog.get_logger(__name__)

MEMORY: Final = "memory"
PATIENCE: Final = 0.5
"""Seconds that a Redis has to answer."""
LEFT_ALONE: Final = 5.0
"""Seconds for which a Redis that did not answer is not asked by calls: each would wait for it."""
LEAST_WAIT: Final = SECOND // 100


class WrongRateError(ValueError):
    """A rate, or the place where calls are counted, that cannot be understood."""


class Rates:
    """The rates of one server, such as "100/second; 3000/minute" for each kind of call that has one.

    The windows slide by weighing the one before: two numbers a rate and key, where a log of calls would be exact and as
    long as the rate is high. While the store does not answer, this server counts for itself.
    """

    def __init__(self, rates: Mapping[Kind, str], store: str = MEMORY) -> None:
        self._items = {kind: _parsed(rate) for kind, rate in rates.items()}
        self._store = _storage(store)
        self._together = SlidingWindowCounterRateLimiter(self._store)
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._away = False

    async def take(self, caller: Caller, kind: Kind) -> None:
        """Count a call; raises RateLimited when it is one too many."""
        items = self._items.get(kind)
        if items is None:
            return
        if time.monotonic() >= self._away_until:
            if self._away:  # one call tries, the others do not wait with it
                self._away_until = time.monotonic() + LEFT_ALONE
            try:
                over = await _over(self._together, items, caller, kind)
            except StorageError as error:
                self._lose(str(error.storage_error))
            else:
                self._find()
                if over:
                    raise over
                return
        if over := await _over(self._alone, items, caller, kind):
            raise over

    async def look(self) -> bool:
        """Look whether the store answers, and return that; where it is memory it always does."""
        if await self._store.check():
            self._find()
        else:
            self._lose("it does not answer PING")
        return not self._away

    def _lose(self, why: str) -> None:
        self._away_until = time.monotonic() + LEFT_ALONE
        if not self._away:
            self._away = True
            log.warning("the store of rates does not answer: this server counts alone", why=why)

    def _find(self) -> None:
        self._away_until = 0.0
        if self._away:
            self._away = False
            log.info("the store of rates answers again: the servers count together")


async def _over(
    limiter: SlidingWindowCounterRateLimiter, items: Sequence[RateLimitItem], caller: Caller, kind: Kind
) -> RateLimited | None:
    """Count a call with a limiter; return the refusal when it is one too many, None when it may go on."""
    for item in items:
        if not await limiter.hit(item, kind, caller.key_id):
            stats = await limiter.get_window_stats(item, kind, caller.key_id)
            return RateLimited(caller.key_id, kind, _told(item), _wait(stats))
    return None


def _parsed(rate: str) -> list[RateLimitItem]:
    try:
        items = list(parse_many(rate))
    except ValueError:
        raise WrongRateError(f"{rate!r} is not a rate such as 100/second or 3000/minute") from None
    if not all(item.amount for item in items):
        raise WrongRateError(f"{rate!r} lets no call in: a rate is 1 or more in a span")
    return items


def _storage(store: str) -> Storage:
    if store == MEMORY:
        return MemoryStorage()
    try:
        found: Any = storage_from_string(
            f"async+{store}",
            implementation="redispy",
            wrap_exceptions=True,
            key_prefix="jobledger",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
    except ConfigurationError as error:
        why = f"{store.partition('://')[0]!r} is not redis, or the extra is missing: jobledger-service[redis]"
        raise WrongRateError(f"calls cannot be counted there: {why}") from error
    assert isinstance(found, Storage)  # noqa: S101  by its scheme
    return found


def _told(item: RateLimitItem) -> str:
    return f"{item.amount} in {item.get_expiry()} s"


def _wait(stats: WindowStats) -> int:
    return max(round((stats.reset_time - time.time()) * SECOND), LEAST_WAIT)
