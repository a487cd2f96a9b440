"""A duty: something done over and over, each time as far as it is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from jobledger_service.domain.errors import Draining, Refusal

log = logging.getLogger(__name__)


async def perform(
    name: str,
    once: Callable[[], Awaitable[bool]],
    every: float,
    ran: Callable[[str, bool], None] = lambda _name, _well: None,
) -> None:
    """Do it, then wait `every` seconds, or go on at once while `once` says that there is more; until cancelled.

    `ran` hears of each time, and whether it went well.
    """
    while True:
        more = well = False
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
            await asyncio.sleep(every)
