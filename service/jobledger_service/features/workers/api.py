"""ListWorkers, a method of WorkerService, and the duty that writes which workers claim."""

import asyncio
from functools import partial
from typing import Final

from jobledger.v1 import worker_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import convert
from jobledger_service.core.api.services import WORKER_SERVICE
from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import RECORD_SECONDS, Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.read.paging import fitting
from jobledger_service.core.write.active_workers import REMEMBERED
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Calls, Kind, Method

from .store import Place, SqlWorkerStore, StoredWorker, place_of

METHODS: Final = (Method(WORKER_SERVICE, "ListWorkers", Role.CALLER, Kind.READ),)


class WorkerCalls(MsgStruct, frozen=True):
    """The method of WorkerService about workers."""

    kernel: Kernel
    store: SqlWorkerStore

    async def ListWorkers(self, request: api.ListWorkersRequest, caller: Caller) -> bytes:
        owner = caller.owner

        def read_and_show(after: Place | None, limit: int) -> tuple[bytes, Place | None]:
            page, last = self.store.page(owner, after, limit)
            shown = [_worker(worker, held, owner) for worker, held in page]
            if (count := fitting(message.ByteSize() for message in shown)) < len(shown):
                last = place_of(page[count - 1][0], owner)
            return api.ListWorkersResponse(workers=shown[:count]).SerializeToString(), last

        listed, place = ("workers", owner), tuple[bool, str, str]
        shown, token = await self.kernel.read_page(owner, request, listed, place, read_and_show)
        return shown + api.ListWorkersResponse(next_page_token=token).SerializeToString()


def _worker(worker: StoredWorker, held: int, owner: str) -> api.Worker:
    """Return a worker as an owner may see it: of another owner's key, he sees that it claims for him."""
    owners = [owner] if worker.owners is None or worker.owner != owner else sorted(worker.owners.names)
    return api.Worker(
        worker=worker.worker,
        kinds=worker.kinds,
        owners=owners,
        first_seen_time=convert.timestamp(worker.first_seen_time),
        last_seen_time=convert.timestamp(worker.last_seen_time),
        chunk_count=held,
        version=worker.version,
        host=worker.host,
    )


ROWS_PER_STEP: Final = 500


def _open(kernel: Kernel) -> ServerParts:
    """Record workers from time to time; a crash loses what was seen since."""
    store, active = SqlWorkerStore(kernel.database), kernel.active_workers
    written = 0

    async def record() -> bool:
        """Write the workers that were seen since the last time, each once, in steps."""
        nonlocal written
        now = kernel.clock()
        seen = active.since(written)
        for begin in range(0, len(seen), ROWS_PER_STEP):
            step = seen[begin : begin + ROWS_PER_STEP]
            await kernel.committer.run_on_writer(partial(store.write, step), len(step))
        written = now
        active.forget(now - REMEMBERED)
        return False

    async def record_soon() -> bool:
        """Write them at most once a second, however many are new."""
        await asyncio.sleep(min(max(0.0, (written + SECOND - kernel.clock()) / SECOND), 1.0))
        return await record()

    return ServerParts(
        calls=[Calls(METHODS, WorkerCalls(kernel, store))],
        duties=[
            Duty("workers", record_soon, RECORD_SECONDS, active.is_new),
            trimming("worker retention", kernel, store.trim, REMEMBERED),
        ],
        close=record,
    )


workers = Feature(_open)
