"""How often a key may call: sliding windows over reads, writes and opened watches, in memory or in a Redis."""

import time
from collections.abc import Mapping
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
"""Seconds for which a Redis that did not answer is not asked: calls are let in uncounted."""
LEAST_WAIT: Final = SECOND // 100


class WrongRateError(ValueError):
    """A rate, or the place where calls are counted, that cannot be understood."""


class Rates:
    """The rates of one server, such as "100/second; 3000/minute" for each kind of call that has one.

    The windows slide by weighing the one before: two numbers a rate and key, where a log of calls would be exact and as
    long as the rate is high.
    """

    def __init__(self, rates: Mapping[Kind, str], store: str = MEMORY) -> None:
        self._items = {kind: _parsed(rate) for kind, rate in rates.items()}
        self._limiter = SlidingWindowCounterRateLimiter(_storage(store))
        self._away_until = 0.0

    async def take(self, caller: Caller, kind: Kind) -> None:
        """Count a call; raises RateLimited when it is one too many. Without its store nothing is counted or refused."""
        items = self._items.get(kind)
        if items is None or time.monotonic() < self._away_until:
            return
        try:
            for item in items:
                if not await self._limiter.hit(item, kind, caller.key_id):
                    stats = await self._limiter.get_window_stats(item, kind, caller.key_id)
                    raise RateLimited(caller.key_id, kind, _told(item), _wait(stats))
        except StorageError as error:
            self._away_until = time.monotonic() + LEFT_ALONE
            log.warning("calls are not counted: the store of rates does not answer", why=str(error.storage_error))


def _parsed(rate: str) -> list[RateLimitItem]:
    try:
        return list(parse_many(rate))
    except ValueError:
        raise WrongRateError(f"{rate!r} is not a rate such as 100/second or 3000/minute") from None


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
