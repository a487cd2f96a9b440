"""Rate limits of keys: token buckets for reads, writes and opened watches, in memory or in a Redis."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from jobledger_service.transport.identity import Caller
from jobledger_service.transport.methods import Kind
from jobledger_service.transport.refusals import RateLimited
from jobledger_service.transport.units import NANOS_PER_MICROSECOND, NANOS_PER_SECOND

from .token_buckets import MemoryBuckets, RedisBuckets, Shortage, take

log = structlog.get_logger(__name__)

MEMORY: Final = "memory"
STORE_TIMEOUT_SECONDS: Final = 0.5
"""Seconds for an answer of Redis."""
MAX_STORE_SECONDS: Final = 2 * STORE_TIMEOUT_SECONDS
"""Seconds after which nothing is waited for: the client may try one sentinel after the other."""
STORE_RETRY_NANOS: Final = 5 * NANOS_PER_SECOND
"""Nanoseconds for which calls do not try a Redis that did not answer: each would wait for it."""
MAX_SPAN_SECONDS: Final = 10 * 366 * 86_400
"""Seconds of the longest span. Redis answers in 64 bits, which hold 292 years of nanoseconds and no more."""


class InvalidRateError(ValueError):
    """An invalid rate, or an invalid address of the store."""


class RateLimiter:
    """The rates of one server, such as "100/second; 3000/minute" for each kind of call that has one.

    A key has a bucket of tokens for each of them. While the store does not answer, this server counts for itself, in
    buckets of its own. `clock` is in nanoseconds, and never goes back.
    """

    def __init__(
        self, rates: Mapping[Kind, str], store: str = MEMORY, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._limits = {kind: _parsed(rate) for kind, rate in rates.items()}
        self._clock = clock
        self._local = MemoryBuckets(clock)
        self._shared = None if store == MEMORY else _in_redis(store)
        self._retry_at = 0
        self._is_down = False

    async def acquire(self, caller: Caller, kind: Kind) -> None:
        """Take a token of each rate for a call; raises RateLimited, and takes none, when one of them has none."""
        items = self._limits.get(kind)
        if items is None:
            return
        name = f"{{{kind}/{caller.key_id}}}"  # in braces: one slot of a Redis cluster
        if self._shared is None or self._clock() < self._retry_at:
            shortage = await take(self._local, items, name)
        else:
            shortage = await self._take_shared(self._shared, items, name)
        if shortage is not None:
            rate = f"{shortage.item.amount} in {shortage.item.get_expiry()} s"
            raise RateLimited(caller.key_id, kind, rate, -(-shortage.wait // NANOS_PER_MICROSECOND))

    async def _take_shared(self, shared: RedisBuckets, items: Sequence[RateLimitItem], name: str) -> Shortage | None:
        """Take tokens from the store, or from the own buckets when it does not answer."""
        if self._is_down:  # one call tries; the others do not wait with it
            self._retry_at = self._clock() + STORE_RETRY_NANOS
        try:
            async with asyncio.timeout(MAX_STORE_SECONDS):
                shortage = await take(shared, items, name)
        except StorageError as error:
            self._mark_down(str(error.storage_error))
        except TimeoutError:
            self._mark_down(f"it did not answer within {MAX_STORE_SECONDS:g} s")
        else:
            self._mark_up()
            return shortage
        return await take(self._local, items, name)

    @property
    def is_shared(self) -> bool:
        """Whether servers count calls together, in a store."""
        return self._shared is not None

    async def check_store(self) -> bool:
        """Check whether the store answers; memory always does."""
        if self._shared is None:
            return True
        try:
            async with asyncio.timeout(MAX_STORE_SECONDS):
                answers = await self._shared.check()
        except TimeoutError:
            answers = False
        if answers:
            self._mark_up()
        else:
            self._mark_down("it does not answer PING")
        return answers

    def _mark_down(self, why: str) -> None:
        self._retry_at = self._clock() + STORE_RETRY_NANOS
        if not self._is_down:
            self._is_down = True
            log.warning("the rate limit store does not answer: this server counts only its own calls", why=why)

    def _mark_up(self) -> None:
        self._retry_at = 0
        if self._is_down:
            self._is_down = False
            log.info("the rate limit store answers again: calls are counted across servers")


def _parsed(rate: str) -> list[RateLimitItem]:
    try:
        items = list(parse_many(rate))
    except ValueError:
        raise InvalidRateError(f"value {rate!r} must be a rate such as 100/second or 3000/minute") from None
    if not all(item.amount for item in items):
        raise InvalidRateError(f"value {rate!r} must allow at least 1 call per span")
    if any(item.get_expiry() > MAX_SPAN_SECONDS for item in items):
        raise InvalidRateError(f"value {rate!r} must have a span of at most ten years")
    return items


def _in_redis(store: str) -> RedisBuckets:
    try:
        storage: Any = storage_from_string(
            f"async+{store}",
            implementation="redispy",
            wrap_exceptions=True,
            key_prefix="jobledger",
            socket_timeout=STORE_TIMEOUT_SECONDS,
            socket_connect_timeout=STORE_TIMEOUT_SECONDS,
        )
        return RedisBuckets(storage)
    except (ConfigurationError, NotImplementedError) as error:
        why = f"{store.partition('://')[0]!r} is not redis, or the extra is missing: jobledger-service[redis]"
        raise InvalidRateError(f"calls cannot be counted there: {why}") from error
