"""A duty: something done over and over, each time as far as it is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from jobledger_service.core.model.errors import Draining, Refusal

log = logging.getLogger(__name__)

Ran = Callable[[str, bool], None]
"""Hears that a duty was done, by name, and whether it went well."""


async def perform(
    name: str,
    once: Callable[[], Awaitable[bool]],
    every: float | None,
    hint: asyncio.Event | None = None,
    ran: Ran = lambda _name, _well: None,
) -> None:
    """Do it, then wait `every` seconds or for the hint, or go on at once while `once` says that there is more.

    Without `every` it waits for the hint alone. It goes on until it is cancelled. `ran` hears of each time, and whether
    it went well.
    """
    hint = hint or asyncio.Event()
    while True:
        more = well = False
        hint.clear()
        try:
            more = await once()
            well = True
        except Draining:
            return
        except Refusal as refusal:
            log.warning("%s puts off its work: %s", name, refusal)
        except Exception:
            log.exception("%s fails; it tries again", name)
        ran(name, well)
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await hint.wait()
