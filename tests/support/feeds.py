"""A feed over a real store, and a ledger that a test writes event by event."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.history import History
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.tables import events, ledger
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.watch.live_feed import LiveFeed
from jobledger_service.core.watch.subscription import FeedSubscription
from jobledger_service.core.watch.watch import Watch
from sqlalchemy import delete, insert, update

from tests.support.databases import new_database
from tests.support.watching import CHANGED

codec = ProtoCodec()


def entry_of(
    position: int, owner: str, job_id: str, *, before: dict[str, object] | None = None, **job: object
) -> Entry:
    """Return an entry; `before` is what of the job was different before, None for a new job."""
    return codec.open(event_of(position, owner, job_id, before, **job))


def event_of(
    position: int, owner: str, job_id: str, before: dict[str, object] | None = None, **job: object
) -> EventRow:
    """Return an event as it is stored."""
    fields = {"kind": "some", "state": "JOB_STATE_QUEUED"} | job
    message = WatchJobResponse(type=CHANGED, job=Job(job_id=job_id, owner=owner, revision=position, **fields))
    message.event.position = position
    return EventRow(position, f"{owner}/{job_id}", message.SerializeToString(), before)


class FeedLedger:
    """A database with a feed over it, on the event loop of the test."""

    def __init__(self, store: str, directory: Path) -> None:
        self.database = open_database(new_database(store, directory))
        upgrade(self.database)
        self.reads = ReadStore(self.database)
        self.readers = Readers()
        self.found: list[Entry] = []
        self.feed = self.open_feed()

    def open_feed(self) -> LiveFeed:
        """Return another feed, as another process, or this one after a restart, would have it."""
        return LiveFeed(self.reads, self.readers, codec, self.found.append, sole_writer=True)

    @property
    def cursors(self) -> Cursors:
        """Cursors of this ledger."""
        return Cursors(self.reads.epoch.id, lambda: self.reads.history.terms)

    def open_watch(self, feed: LiveFeed, *, bookmark_every: float) -> Watch:
        """Return what opens watches of a feed."""
        queries = Queries(self.reads, self.readers)
        return Watch(self.reads, queries, self.readers, self.cursors, feed, codec, bookmark_every)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.readers.close()
        self.database.close()

    def append(self, rows: Sequence[EventRow]) -> None:
        """Write events, as another process does."""
        values = [
            {
                "position": row.position,
                "job_key": row.job_key,
                "commit_time": 0,
                "changes": 1,
                "message": row.message,
                "before": None,
                "artifacts_bytes": 0,
            }
            for row in rows
        ]
        with self.database.write() as connection:
            connection.execute(insert(events), values)
            connection.execute(update(ledger).values(position=rows[-1].position))

    def clear(self) -> None:
        """Make the ledger empty again."""
        with self.database.write() as connection:
            connection.execute(delete(events))
            connection.execute(update(ledger).values(position=0, trimmed=0))
        self.database.history = History(self.database.dialect.start)

    def trim(self, through: int) -> None:
        """Forget events, as another process does."""
        with self.database.write() as connection:
            connection.execute(delete(events).where(events.c.position <= through))
            connection.execute(update(ledger).values(trimmed=through))


async def read_to(subscription: FeedSubscription, end: int) -> list[int]:
    """Return the positions that a subscription brings until it has reached `end`; its own position never falls."""
    got: list[int] = []
    reached = subscription.position
    while reached < end:
        got += [entry.position for entry in await subscription.next(0)]
        assert subscription.position >= reached
        reached = subscription.position
    return got
