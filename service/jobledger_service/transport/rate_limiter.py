"""How often a key may call: token buckets for reads, writes and opened watches, in memory or in a Redis."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from jobledger_service.core.model.limit_errors import RateLimited

from .identity import Caller
from .methods import Kind
from .token_buckets import SECOND, MemoryBuckets, TokenBucketRateLimiter

log = structlog.get_logger(__name__)

MEMORY: Final = "memory"
PATIENCE: Final = 0.5
"""Seconds that a Redis has to answer."""
MOST_PATIENCE: Final = 2 * PATIENCE
"""Seconds after which nothing is waited for, whatever the client is at: it may ask one sentinel after the other."""
LEFT_ALONE: Final = 5 * SECOND
"""Nanoseconds for which a Redis that did not answer is not asked by calls: each would wait for it."""
MICROSECOND: Final = 1_000
LONGEST: Final = 10 * 366 * 86_400
"""Seconds of the longest span. Redis answers in 64 bits, which hold 292 years of nanoseconds and no more."""


class WrongRateError(ValueError):
    """A rate, or the place where calls are counted, that cannot be understood."""


class Rates:
    """The rates of one server, such as "100/second; 3000/minute" for each kind of call that has one.

    A key has a bucket of tokens for each of them. While the store does not answer, this server counts for itself, in
    buckets of its own. `clock` is in nanoseconds, and never goes back.
    """

    def __init__(
        self, rates: Mapping[Kind, str], store: str = MEMORY, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._items = {kind: _parsed(rate) for kind, rate in rates.items()}
        self._clock = clock
        self._alone = TokenBucketRateLimiter(MemoryBuckets(clock))
        self._together = self._alone if store == MEMORY else _in_redis(store)
        self._away_until = 0
        self._away = False

    async def take(self, caller: Caller, kind: Kind) -> None:
        """Take a token of each rate for a call; raises RateLimited, and takes none, when one of them has none."""
        items = self._items.get(kind)
        if items is None:
            return
        if self._clock() >= self._away_until:
            if self._away:  # one call tries, the others do not wait with it
                self._away_until = self._clock() + LEFT_ALONE
            try:
                over = await self._ask(items, caller, kind)
            except StorageError as error:
                self._lose(str(error.storage_error))
            except TimeoutError:
                self._lose(f"it did not answer within {MOST_PATIENCE:g} s")
            else:
                self._find()
                if over:
                    raise over
                return
        if over := await _over(self._alone, items, caller, kind):
            raise over

    async def look(self) -> bool:
        """Look whether the store answers, and return that; where it is memory it always does."""
        try:
            async with asyncio.timeout(MOST_PATIENCE):
                answers = await self._together.storage.check()
        except TimeoutError:
            answers = False
        if answers:
            self._find()
        else:
            self._lose("it does not answer PING")
        return not self._away

    async def _ask(self, items: Sequence[RateLimitItem], caller: Caller, kind: Kind) -> RateLimited | None:
        if self._together is self._alone:
            return await _over(self._alone, items, caller, kind)
        async with asyncio.timeout(MOST_PATIENCE):
            return await _over(self._together, items, caller, kind)

    def _lose(self, why: str) -> None:
        self._away_until = self._clock() + LEFT_ALONE
        if not self._away:
            self._away = True
            log.warning("the store of rates does not answer: this server counts alone", why=why)

    def _find(self) -> None:
        self._away_until = 0
        if self._away:
            self._away = False
            log.info("the store of rates answers again: the servers count together")


async def _over(
    limiter: TokenBucketRateLimiter, items: Sequence[RateLimitItem], caller: Caller, kind: Kind
) -> RateLimited | None:
    """Take the tokens of a call; return the refusal when there are too few, None when it may go on."""
    shortage = await limiter.take(items, f"{{{kind}/{caller.key_id}}}")  # in braces: one slot of a Redis cluster
    if shortage is None:
        return None
    return RateLimited(caller.key_id, kind, _told(shortage.item), -(-shortage.wait // MICROSECOND))


def _parsed(rate: str) -> list[RateLimitItem]:
    try:
        items = list(parse_many(rate))
    except ValueError:
        raise WrongRateError(f"{rate!r} is not a rate such as 100/second or 3000/minute") from None
    if not all(item.amount for item in items):
        raise WrongRateError(f"{rate!r} lets no call in: a rate is 1 or more in a span")
    if any(item.get_expiry() > LONGEST for item in items):
        raise WrongRateError(f"{rate!r} has a span of more than ten years")
    return items


def _in_redis(store: str) -> TokenBucketRateLimiter:
    try:
        storage: Any = storage_from_string(
            f"async+{store}",
            implementation="redispy",
            wrap_exceptions=True,
            key_prefix="jobledger",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        return TokenBucketRateLimiter(storage)
    except (ConfigurationError, NotImplementedError) as error:
        why = f"{store.partition('://')[0]!r} is not redis, or the extra is missing: jobledger-service[redis]"
        raise WrongRateError(f"calls cannot be counted there: {why}") from error


def _told(item: RateLimitItem) -> str:
    return f"{item.amount} in {item.get_expiry()} s"
