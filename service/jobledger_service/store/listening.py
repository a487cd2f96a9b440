"""Wake-ups between replicas: PostgreSQL's NOTIFY, which is a hint; what happened is in the ledger."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import psycopg

from jobledger_service.ledger.ports import Queue

from .dialects import CHANNEL
from .engines import Database

log = logging.getLogger(__name__)

AGAIN_AFTER: Final = 1.0
"""Seconds until a lost connection is tried again; meanwhile the feed's own slow poll finds what is new."""


async def listen(database: Database, heard: Callable[[], None], ready: Callable[[Mapping[Queue, int]], None]) -> None:
    """Call `heard` whenever another replica has committed, and after each new connection; until cancelled.

    `ready` hears how many chunks wait again in a queue, when another replica has found that retries came due.
    """
    address = database.writer.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                heard()
                async for notice in connection.notifies():
                    replica, *waiting = notice.payload.split("\n")
                    if replica == database.dialect.name:
                        continue
                    if waiting:
                        owner, kind, count = waiting
                        ready({(owner, kind): int(count)})
                    else:
                        heard()
        except psycopg.Error as error:
            log.warning("the connection for wake-ups is lost: %s", error)
        await asyncio.sleep(AGAIN_AFTER)
