"""Duties: work that is repeated, each time as far as it is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from jobledger_service.core.model.errors import Draining, Refusal

log = logging.getLogger(__name__)

OnRun = Callable[[str, bool], None]
"""Called with the name of a duty that ran, and whether it succeeded."""


async def perform(
    name: str,
    once: Callable[[], Awaitable[bool]],
    every: float | None,
    wake_event: asyncio.Event | None = None,
    on_run: OnRun = lambda _name, _well: None,
) -> None:
    """Call `once`, then wait `every` seconds or for the event, or repeat at once while it returns that there is more.

    Without `every` it waits for the event alone. It runs until it is cancelled. `on_run` gets the name, and whether it
    succeeded.
    """
    wake_event = wake_event or asyncio.Event()
    while True:
        more = succeeded = False
        wake_event.clear()
        try:
            more = await once()
            succeeded = True
        except Draining:
            return
        except Refusal as refusal:
            log.warning("%s postpones its work: %s", name, refusal)
        except Exception:
            log.exception("%s failed and will be retried", name)
        on_run(name, succeeded)
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await wake_event.wait()
