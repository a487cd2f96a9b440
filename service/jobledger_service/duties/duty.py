"""A duty: something done over and over, each time as far as it is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from jobledger_service.domain.errors import Draining, Refusal

log = logging.getLogger(__name__)


async def perform(
    name: str, once: Callable[[], Awaitable[bool]], every: float, hint: asyncio.Event | None = None
) -> None:
    """Do it, then wait `every` seconds or for the hint, or go on at once while `once` says that there is more."""
    hint = hint or asyncio.Event()
    while True:
        more = False
        hint.clear()
        try:
            more = await once()
        except Draining:
            return
        except Refusal as refusal:
            log.warning("%s puts off its work: %s", name, refusal)
        except Exception:
            log.exception("%s fails; it tries again", name)
        if not more:
            await _wait(hint, every)


async def _wait(hint: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await hint.wait()
    except TimeoutError:
        pass
