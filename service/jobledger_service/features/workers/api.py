"""ListWorkers, a method of WorkerService."""

from typing import Final

from jobledger.v1 import worker_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import convert
from jobledger_service.core.api.services import WORKER_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.read.paging import fitting
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

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
