"""Looks at the server's health now and then, and takes it out of service while its database is lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from jobledger_service.core.model.writer_level import may_write

from .checker import Checkup

log = logging.getLogger(__name__)


@dataclass(slots=True)
class HealthDuty:
    """`serves` is told when the server is out of service, and when it is back; `lost_after` is in seconds.

    `on_outdated` is called with the database's lowest writer level when this server may no longer write there.
    """

    checkup: Checkup
    lost_after: float
    serves: Callable[[bool], Awaitable[None]]
    on_outdated: Callable[[int], None]
    _lost_since: float | None = field(default=None, init=False)
    _out: bool = field(default=False, init=False)

    async def once(self) -> bool:
        """Look; there is never more to do at once."""
        health = await self.checkup.look()
        now = asyncio.get_running_loop().time()
        store = health.vitals.store
        if store is not None and not may_write(store.writer_level):
            self.on_outdated(store.writer_level)
        if store is not None:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        await self._tell(out=self._lost_since is not None and now - self._lost_since >= self.lost_after)
        return False

    async def _tell(self, *, out: bool) -> None:
        if out == self._out:
            return
        self._out = out
        if out:
            log.error("the database has been lost for %g s: health says NOT_SERVING until it is back", self.lost_after)
        else:
            log.info("the database is back: health says SERVING")
        await self.serves(not out)
