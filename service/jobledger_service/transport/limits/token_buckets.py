"""Token buckets for rates of the library limits, in memory or in its Redis: how often a call is allowed.

The bucket of "100/second" holds 100 tokens, is full at first, and gets a token each 10 ms. All that is kept of a bucket
is when it will be full again: a token that is taken puts this off by the time that a token takes to come, and there is
none to take when it would be put off by more than the whole bucket. This is the generic cell rate algorithm in the form
of virtual scheduling (ITU-T I.371, annex A), with the tolerance of a whole bucket. Spans are in nanoseconds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from limits import RateLimitItem
from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.errors import StorageError

from jobledger_service.transport.units import NANOS_PER_SECOND

CLEANUP_NANOS: Final = 60 * NANOS_PER_SECOND
"""The interval at which full buckets are removed from memory."""

# A Redis counts in doubles, which do not hold a time of day in nanoseconds: the seconds are kept apart.
# A clock that was set back, or another one after a failover, leaves a bucket empty at worst.
TAKE: Final = b"""
local now = redis.call('TIME')
local second, nanosecond = tonumber(now[1]), tonumber(now[2]) * 1000
local cost, enough = tonumber(ARGV[1]), true
local full_in, short_by = {}, {}
for i, key in ipairs(KEYS) do
  local token, capacity = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local s, n = string.match(redis.call('GET', key) or '', '^(%d+)%.(%d+)$')
  local remaining = s and (s - second) * 1e9 + n - nanosecond or 0
  full_in[i] = math.max(0, math.min(remaining, capacity)) + cost * token
  short_by[i] = full_in[i] - capacity
  enough = enough and short_by[i] <= 0
end
if enough then
  for i, key in ipairs(KEYS) do
    local at = nanosecond + full_in[i]
    local full_at = string.format('%d.%09d', second + math.floor(at / 1e9), at % 1e9)
    redis.call('SET', key, full_at, 'PX', math.ceil(full_in[i] / 1e6))
  end
end
return short_by
"""


class Bucket(NamedTuple):
    """One bucket: a token takes `token` to come, and all of them together `capacity`."""

    key: str
    token: int
    capacity: int


class Shortage(NamedTuple):
    """The rate that has too few tokens, for the longest time of several, and how long until it has enough."""

    item: RateLimitItem
    wait: int


class MemoryBuckets:
    """Buckets in memory; `clock` is in nanoseconds, and never goes back."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._full_at: dict[str, int] = {}
        self._clean_up_at = clock() + CLEANUP_NANOS

    async def take_tokens(self, buckets: Sequence[Bucket], cost: int) -> list[int]:
        """Take `cost` tokens from each bucket when all have as many, else none, as one step.

        Return how long each bucket is short of them; 0 or less is what it had beyond them.
        """
        now = self._clock()
        if now >= self._clean_up_at:
            self._clean_up(now)
        full_at = {key: max(self._full_at.get(key, now), now) + cost * token for key, token, _ in buckets}
        short_by = [full_at[key] - now - capacity for key, _, capacity in buckets]
        if max(short_by) <= 0:
            self._full_at.update(full_at)
        return short_by

    def _clean_up(self, now: int) -> None:
        self._clean_up_at = now + CLEANUP_NANOS
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}


class RedisBuckets:
    """Buckets in the Redis of a storage of limits, by its server's clock; they expire when they are full.

    Like all strategies of limits, it raises NotImplementedError for a storage that lacks the required methods.
    """

    def __init__(self, storage: Storage) -> None:
        if not isinstance(storage, RedisStorage) or not isinstance(storage.bridge, RedispyBridge):
            raise NotImplementedError(
                f"token buckets are not implemented for a storage of type {type(storage).__name__}"
            )
        self.check = storage.check
        self._bridge = storage.bridge
        self._script = self._bridge.get_connection().register_script(TAKE)
        errors = self._bridge.dependency.exceptions
        # The error of a cluster that cannot be reached is not a RedisError.
        self._away = (errors.RedisError, errors.RedisClusterException)

    async def take_tokens(self, buckets: Sequence[Bucket], cost: int) -> list[int]:
        """Take tokens as MemoryBuckets does; raises StorageError."""
        keys = [self._bridge.prefixed_key(bucket.key) for bucket in buckets]
        numbers = [cost, *(number for _, *spans in buckets for number in spans)]
        try:
            short_by: list[int] = await self._script(keys, numbers)
        except self._away as error:
            raise StorageError(error) from error
        return short_by


async def take(
    buckets: MemoryBuckets | RedisBuckets, items: Sequence[RateLimitItem], *identifiers: str, cost: int = 1
) -> Shortage | None:
    """Take `cost` tokens of each rate if all have enough, else none; return the shortage, if any.

    In a cluster the keys of all items must be in one slot: put a part of the identifiers in braces.
    """
    short_by = await buckets.take_tokens([_bucket(item, identifiers) for item in items], cost)
    wait = max(short_by)
    return None if wait <= 0 else Shortage(items[short_by.index(wait)], wait)


def _bucket(item: RateLimitItem, identifiers: Sequence[str]) -> Bucket:
    token = -(-item.get_expiry() * NANOS_PER_SECOND // item.amount)  # rounded up: never more than the rate
    return Bucket(item.key_for(*identifiers), token, item.amount * token)
