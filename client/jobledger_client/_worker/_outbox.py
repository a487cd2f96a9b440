"""Sends the ends of leases in batches, and repeats each batch until the service has it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from google.protobuf.message import Message

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import LeaseStatus
from jobledger_client._retry import Backoff
from jobledger_client._status import error_of_entry
from jobledger_client._worker._batches import batches, is_refusal
from jobledger_client._worker._transient import repeat_transient

logger = logging.getLogger("jobledger_client.worker")

Item = TypeVar("Item", bound=Message)
Send: TypeAlias = Callable[[Sequence[Item]], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class PendingItem(Generic[Item]):
    """An item, and the future of its result."""

    item: Item
    result: asyncio.Future[Any]

    def size(self) -> int:
        """Return the bytes that the item adds to a call."""
        return self.item.ByteSize() + 8


class Outbox(Generic[Item]):
    """Completions, failures or releases in flight. It holds at most one for each slot of the worker."""

    def __init__(self, send: Send[Item], backoff: Backoff) -> None:
        self._send = send
        self._backoff = backoff
        self._pending: list[PendingItem[Item]] = []
        self._wake = asyncio.Event()

    async def submit(self, item: Item) -> Any:  # noqa: ANN401 - the result type depends on the item type
        """Send the item with the next call; return the result of its lease. Raises the error that refuses the item."""
        pending = PendingItem(item, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._wake.set()
        return await pending.result

    async def run(self) -> NoReturn:
        """Send submitted items, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pending, self._pending = self._pending, []
            for batch in batches(pending, PendingItem.size):
                await self._deliver(batch)

    async def _deliver(self, batch: list[PendingItem[Item]]) -> None:
        try:
            results = await repeat_transient(
                lambda: self._send([pending.item for pending in batch]),
                self._backoff,
                logger,
                f"report {len(batch)} chunks",
            )
        except JobledgerError as error:
            if is_refusal(error) and len(batch) > 1:
                for pending in batch:  # the call is too large, or one of its items is no message of this server
                    await self._deliver([pending])
                return
            for pending in batch:
                _refuse(pending, error)
        else:
            for pending, result in zip(batch, results, strict=True):
                if result.status == LeaseStatus.REFUSED:
                    _refuse(pending, error_of_entry(result.error))
                elif not pending.result.done():
                    pending.result.set_result(result)


def _refuse(pending: PendingItem[Item], error: JobledgerError) -> None:
    if not pending.result.done():
        pending.result.set_exception(error)
