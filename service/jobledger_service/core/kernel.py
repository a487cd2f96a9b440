"""What every part of the server is made from, the `Kernel`, and a `Feature`: what a part adds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct as MsgStruct
from msgspec import field
from prometheus_client.registry import Collector

from jobledger_service.settings import Settings
from jobledger_service.transport.methods import Calls
from jobledger_service.transport.rpc_server import Authenticate, CallControls, MaxWatches

from .api.job_requests import NewId
from .api.list_requests import checked_page_size
from .api.quotas import ShownQuotas
from .api.worker_requests import RequestContext
from .cursor import Cursors
from .database.clock import LedgerClock
from .database.engines import Database
from .database.maintenance.derived_tables import DerivedTable
from .database.unreadable_rows import UnreadableRows
from .database.vitals import CountDeliveries, VitalsReader
from .duty import Duty
from .model.chunk import Queue
from .model.history.vitals import Component
from .read.paging import PageTokens, Place, request_mark
from .read.queries import Queries
from .read.readers import Readers
from .read.reading import ReadStore
from .waits import Waits
from .watch.live_feed import LiveFeed
from .watch.watch import Watch
from .write.active_workers import ActiveWorkers
from .write.batch import Commit
from .write.claims import ClaimQueue
from .write.commands import ClaimedChunk
from .write.committer import Committer
from .write.row_families import OpenFamily

Rows = TypeVar("Rows")


class Turn(MsgStruct, eq=False):
    """The time that a chunk of the service's own jobs, of a queue, may run while others wait: at least one step."""

    queue: Queue
    is_over: bool = False


ChunkHandler = Callable[[ClaimedChunk, Turn], Awaitable[None]]
"""Works a chunk of one of the service's own jobs to its end, or to the end of its turn."""


class Environment(MsgStruct, frozen=True):
    """What the kernel and the row families of features are made from."""

    settings: Settings
    database: Database
    new_id: NewId


class Kernel(Environment, frozen=True):
    """The core of one server process, and what its calls share (`calls`). `sample_jitter` draws from 0 to 1."""

    clock: LedgerClock
    sample_jitter: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    unreadable: UnreadableRows
    store: ReadStore
    readers: Readers
    queries: Queries
    tokens: PageTokens
    cursors: Cursors
    committer: Committer
    claims: ClaimQueue
    feed: LiveFeed
    watch: Watch
    active_workers: ActiveWorkers
    request_context: RequestContext
    calls: CallControls
    quotas: ShownQuotas
    vitals: VitalsReader
    components: dict[str, Component]
    """What else the server depends on, by name, as features find it."""
    waits: Waits

    async def read_page(
        self,
        owner: str,
        request: Any,  # noqa: ANN401  any with page_size and page_token
        listed: Sequence[object],
        place: type[Place],
        read: Callable[[Place | None, int], tuple[Rows, Place | None]],
        *,
        max_size: int = 500,
    ) -> tuple[Rows, str]:
        """Read the page that a request asks for, in an owner's turn; return it, and the token of the next one.

        `listed` is what the request lists, `place` the type of a place in it. `read` returns the rows after a place, up
        to a limit, and the place of the last one if there may be more.
        """
        limit, mark = checked_page_size(request.page_size, max_size=max_size), request_mark(*listed)
        after = await self.tokens.parse(request.page_token, mark, place)
        rows, last = await self.readers.for_owner(owner, read, after, limit)
        return rows, self.tokens.encode(mark, *last) if last else ""


class ServerParts(MsgStruct, frozen=True):
    """What a feature adds to a server; all of it is optional.

    `on_commit` gets each commit of this process, before its callers get their answers. `chunk_handlers` work the chunks
    of the service's own jobs, by kind. `collectors` show its metrics. `authenticate` names callers by their API keys.
    `max_watches` bounds the open watches of owners. `count_deliveries` counts webhook deliveries for health. `drain` is
    called when the server begins to drain, `close` when no call and no duty runs any more.
    """

    calls: Sequence[Calls] = ()
    duties: Sequence[Duty] = ()
    on_commit: Callable[[Commit], None] | None = None
    chunk_handlers: Mapping[str, ChunkHandler] = field(default_factory=dict)
    collectors: Sequence[Collector] = ()
    authenticate: Authenticate | None = None
    max_watches: MaxWatches | None = None
    count_deliveries: CountDeliveries | None = None
    drain: Callable[[], None] | None = None
    close: Callable[[], Awaitable[object]] | None = None


def no_families(_environment: Environment) -> Sequence[OpenFamily]:
    """Return no families."""
    return ()


class Feature(MsgStruct, frozen=True):
    """One part of the service: `open` returns what it adds to a server.

    `families` returns the rows that batches have for it. `derived_tables` are those that a recount corrects.
    """

    open: Callable[[Kernel], ServerParts]
    families: Callable[[Environment], Sequence[OpenFamily]] = no_families
    derived_tables: Sequence[DerivedTable] = ()
