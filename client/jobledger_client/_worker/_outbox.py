"""How the ends of leases are sent: all that came together in one call, and again until the service has them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import random
from typing import Generic, NoReturn, TypeAlias, TypeVar

from jobledger.v1.worker_service_pb2 import LeaseResult

from jobledger_client._errors import (
    DeadlineExceededError,
    InternalError,
    InvalidFieldError,
    JobledgerError,
    QueueFullError,
    RateLimitedError,
    UnavailableError,
)
from jobledger_client._retry import Backoff

logger = logging.getLogger("jobledger_client.worker")

Item = TypeVar("Item")
Send: TypeAlias = Callable[[Sequence[Item]], Awaitable[Sequence[LeaseResult]]]

# What passes by itself: a worker outlives it.
PASSING = (UnavailableError, DeadlineExceededError, QueueFullError, RateLimitedError, InternalError)
_LARGEST_BATCH = 500


@dataclass(frozen=True, slots=True)
class _Letter(Generic[Item]):
    item: Item
    answer: asyncio.Future[LeaseResult]


class Outbox(Generic[Item]):
    """Completions, failures or releases on their way. It holds at most one for each slot of the worker."""

    def __init__(self, send: Send[Item], backoff: Backoff) -> None:
        self._send = send
        self._backoff = backoff
        self._letters: list[_Letter[Item]] = []
        self._wake = asyncio.Event()

    async def post(self, item: Item) -> LeaseResult:
        """Send the item with the next call; return how its lease fared. Raises the JobledgerError that refuses it."""
        letter = _Letter(item, asyncio.get_running_loop().create_future())
        self._letters.append(letter)
        self._wake.set()
        return await letter.answer

    async def run(self) -> NoReturn:
        """Send what is posted, for ever."""
        while True:
            await self._wake.wait()
            batch = self._letters[:_LARGEST_BATCH]
            del self._letters[:_LARGEST_BATCH]
            if not self._letters:
                self._wake.clear()
            await self._deliver(batch)

    async def _deliver(self, batch: list[_Letter[Item]]) -> None:
        try:
            results = await self._send_until_answered([letter.item for letter in batch])
        except InvalidFieldError as error:
            await self._deliver_apart(batch, error)
        except JobledgerError as error:
            for letter in batch:
                _refuse(letter, error)
        else:
            for letter, result in zip(batch, results, strict=True):
                if not letter.answer.done():
                    letter.answer.set_result(result)

    async def _deliver_apart(self, batch: list[_Letter[Item]], error: JobledgerError) -> None:
        """One bad item refuses its whole call: send each alone, so that it refuses itself only."""
        if len(batch) == 1:
            _refuse(batch[0], error)
            return
        for letter in batch:
            await self._deliver([letter])

    async def _send_until_answered(self, items: list[Item]) -> Sequence[LeaseResult]:
        failures = 0
        while True:
            try:
                return await self._send(items)
            except PASSING as error:
                failures += 1
                wait = self._backoff.wait(failures, error, random)
                logger.warning("could not report %d chunks, trying again in %.1f s: %s", len(items), wait, error)
            await asyncio.sleep(wait)


def _refuse(letter: _Letter[Item], error: JobledgerError) -> None:
    if not letter.answer.done():
        letter.answer.set_exception(error)
