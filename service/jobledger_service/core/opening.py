"""Opens the core of one server process: store, committer, feed, and what the calls share."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from jobledger_service.settings import InvalidSettingError, Settings
from jobledger_service.transport.limits.in_flight import InFlight
from jobledger_service.transport.limits.open_calls import OpenCalls
from jobledger_service.transport.rpc_server import CallControls

from .api.checks import LABEL, LABEL_FORM, SCHEMES
from .api.codec import ProtoCodec
from .api.quotas import ShownQuotas
from .api.worker_requests import RequestContext
from .current_call import begin_call
from .cursor import Cursors
from .database.clock import LedgerClock
from .database.rows.entry import Entry
from .database.unreadable_rows import UnreadableRows
from .database.vitals import VitalsReader
from .kernel import Environment, Kernel
from .model.bounds.limits import SECOND
from .model.bounds.quotas import Bounds
from .model.chunk import NO_KIND
from .model.filters.label_indexes import MAX_INDEXED_LABELS
from .model.refusals.limit_errors import QuotaExceeded
from .read.queries import Queries
from .read.readers import Readers
from .read.reading import ReadStore
from .waits import Waits
from .watch.live_feed import LiveFeed
from .watch.watch import Watch
from .write.active_workers import ActiveWorkers
from .write.batch import Commit, Executor
from .write.claims import ClaimQueue
from .write.committer import Batch, Committer, QueueBounds
from .write.core_families import core_families
from .write.row_families import OpenFamily
from .write.writing import WriteStore

if TYPE_CHECKING:
    from jobledger_service.transport.limits.rate_limiter import RateLimiter

BOOKMARK_SECONDS: Final = 10.0
"""Seconds for which a watch may be quiet before a bookmark: the contract promises one within 15."""
MAX_CALLS: Final = 10_000
"""Reads, and writes, in flight, without watches and waiting claims; `memory_limit` bounds their bytes."""
MAX_WATCHES_WITHOUT_KEYS: Final = 20_000
"""Open watches of all callers together of a server without keys: one for each of many clients."""
MAX_CLAIMS_WITHOUT_KEYS: Final = 20_000
"""Waiting claims of all callers together of a server without keys; each takes 26 KiB."""
EXPORT_SHARE = 2
"""An export may take the history's length divided by this, and still show each job as it was when it began."""


def open_kernel(
    environment: Environment,
    families: Iterable[OpenFamily],
    *,
    on_commit: Callable[[Commit], None],
    on_batch: Callable[[Batch], None],
    on_merged: Callable[[int], None],
    on_unreadable: Callable[[str], None],
    clock: LedgerClock,
    sample_jitter: Callable[[], float],
    random_bytes: Callable[[int], bytes],
    rate_limiter: "RateLimiter | None",
) -> Kernel:
    """Return the core over a database whose schema is up to date; `families` are those of features."""
    settings, database = environment.settings, environment.database
    unreadable = UnreadableRows(on_unreadable)
    codec, writes = ProtoCodec(unreadable), WriteStore(database, unreadable)
    store = ReadStore(database, unreadable=unreadable)
    waits = Waits()
    readers, cursors = Readers(waits), Cursors(store.epoch.id, lambda: feed.terms)
    queries = Queries(store, readers)
    quiet = round(settings.event_retention * SECOND) // EXPORT_SHARE
    families = (*core_families(database.dialect), *families)
    executor = Executor(writes, codec, clock, cursors, families, quiet=quiet, calendar=clock.calendar)
    bounds = QueueBounds(wait=settings.queue_wait)
    committer = Committer(executor, on_commit, bounds=bounds, on_batch=on_batch, waits=waits)
    claims = ClaimQueue(committer)

    def on_remote_entry(entry: Entry) -> None:
        if entry.ready and entry.after is not None:
            queues = (entry.after.owner, entry.after.kind), (entry.job_key, NO_KIND)
            claims.wake(dict.fromkeys(queues, entry.ready))

    feed = LiveFeed(store, readers, codec, on_remote_entry, sole_writer=database.single_writer)
    loop = asyncio.get_running_loop()
    store.history.on_change = lambda *change: loop.call_soon_threadsafe(feed.change_history, *change)
    calls = CallControls(_in_flight_of(settings, committer), _open_calls_of(settings), rate_limiter)
    schemes = SCHEMES | {"file"} if settings.allow_file_artifacts else SCHEMES
    return Kernel(
        settings=settings,
        database=database,
        new_id=environment.new_id,
        clock=clock,
        sample_jitter=sample_jitter,
        random_bytes=random_bytes,
        unreadable=unreadable,
        store=store,
        readers=readers,
        queries=queries,
        tokens=queries.tokens,
        cursors=cursors,
        committer=committer,
        claims=claims,
        feed=feed,
        watch=Watch(store, queries, readers, cursors, feed, codec, BOOKMARK_SECONDS, on_merged),
        active_workers=ActiveWorkers(clock),
        request_context=RequestContext(clock, sample_jitter, sorted(schemes), store.epoch),
        calls=calls,
        quotas=ShownQuotas(database, default_bounds(settings), calls.open_calls.streams_of),
        vitals=VitalsReader(database),
        components={},
        waits=waits,
    )


def _in_flight_of(settings: Settings, committer: Committer) -> InFlight:
    return InFlight(
        MAX_CALLS,
        settings.memory_limit,
        settings.message_limit,
        committer.check_owner,
        begin_call,
        settings.queue_wait,
    )


def _open_calls_of(settings: Settings) -> OpenCalls:
    def refuse(owner: str, bound: int) -> QuotaExceeded:
        return QuotaExceeded(owner, "max_watches", open_calls.streams_of(owner), bound)

    bounds = (MAX_WATCHES_WITHOUT_KEYS, MAX_CLAIMS_WITHOUT_KEYS)
    if settings.auth == "keys":
        bounds = (settings.watches_per_key, settings.claims_per_key)
    open_calls = OpenCalls(*bounds, refuse)
    return open_calls


def indexed_labels_of(settings: Settings) -> list[str] | None:
    """Return the names of the labels to index, None where the database decides. Raises InvalidSettingError."""
    if settings.indexed_labels is None:
        return None
    names = [*dict.fromkeys(settings.indexed_labels.split())]
    if len(names) > MAX_INDEXED_LABELS:
        raise InvalidSettingError(f"--indexed-labels: {len(names)} names; at most {MAX_INDEXED_LABELS} are allowed")
    for name in names:
        if LABEL.fullmatch(name) is None:
            raise InvalidSettingError(f"--indexed-labels: value {name!r} must be {LABEL_FORM}")
    return names


def default_bounds(settings: Settings) -> Bounds:
    """Return the bounds of owners without a quota."""
    return Bounds(
        settings.unfinished_jobs_per_owner,
        settings.stored_jobs_per_owner,
        settings.watches_per_owner,
        settings.artifact_bytes_per_owner,
    )
