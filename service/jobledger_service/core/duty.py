"""Duties: work that is repeated, each time as far as it is due."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from msgspec import Struct as MsgStruct
from msgspec import field

from .model.refusals.errors import Draining, Refusal

log = structlog.get_logger(__name__)

TRIM_SECONDS: Final = 5.0
"""Seconds between queries for expired jobs and for rows past their retention."""
RECORD_SECONDS: Final = 10.0
"""Seconds between writes of usage, last uses of keys and workers: a crash may lose as much."""
MEASURE_SECONDS: Final = 5.0
"""Seconds between measurements of health and of kinds, each one small read of the database."""
OnRun = Callable[[str, bool], None]
"""Called with the name of a duty that ran, and whether it succeeded."""


class Duty(MsgStruct, frozen=True):
    """Calls `once`, and again: at once while it returns that there is more, else after `every` seconds or on the event.

    Without `every` it waits for the event alone. `due` is the condition of the store on which the due scanner sets the
    event; without one nobody scans for it. `stop` gives back what is held when the server stops.
    """

    name: str
    once: Callable[[], Awaitable[bool]]
    every: float | None = None
    wake_event: asyncio.Event = field(default_factory=asyncio.Event)
    due: Any = None
    stop: Callable[[], Awaitable[None]] | None = None

    async def run(self, on_run: OnRun) -> None:
        """Run it until cancelled; `on_run` is called after each run."""
        try:
            while await self._run_once(on_run):
                pass
        finally:
            if self.stop is not None:
                await self.stop()

    async def _run_once(self, on_run: OnRun) -> bool:
        """Do it once and wait; return whether the server still takes work."""
        more = succeeded = False
        self.wake_event.clear()
        try:
            more = await self.once()
            succeeded = True
        except Draining:
            return False
        except Refusal as refusal:
            log.warning("a duty postpones its work", duty=self.name, why=str(refusal))
        except Exception:
            log.exception("a duty failed and will be retried", duty=self.name)
        on_run(self.name, succeeded)
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.every):
                    await self.wake_event.wait()
        return True
