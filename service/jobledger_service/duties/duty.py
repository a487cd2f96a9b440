"""A duty: something done over and over, each time as far as it is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from jobledger_service.domain.errors import Draining, Refusal

log = logging.getLogger(__name__)


async def perform(
    name: str, once: Callable[[], Awaitable[bool]], every: float, news: asyncio.Event | None = None
) -> None:
    """Do it, then wait for news, or `every` seconds, or go on at once while `once` says that there is more.

    It goes on until it is cancelled.
    """
    news = news or asyncio.Event()
    while True:
        more = False
        news.clear()
        try:
            more = await once()
        except Draining:
            return
        except Refusal as refusal:
            log.warning("%s puts off its work: %s", name, refusal)
        except Exception:
            log.exception("%s fails; it tries again", name)
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await news.wait()
