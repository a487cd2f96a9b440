"""The call of ImportService, for those who bring jobs along from the system that they had."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from jobledger.v1 import import_service_pb2 as rpc
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub

from jobledger_client._async._backend import AsyncOngoing
from jobledger_client._async._caller import AsyncCaller

if TYPE_CHECKING:
    from jobledger_client._async._backend import Call, Channel

JOBS_IN_MESSAGE: Final = 500
BYTES_IN_MESSAGE: Final = 1024 * 1024
"""After which a message is full, whatever it holds."""
MESSAGES_IN_CALL: Final = 8
SECONDS_OF_CALL: Final = 60.0
MOST_REFUSALS: Final = 100


class AsyncImportCalls:
    """What those ask of the service who bring jobs along."""

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._imports = ImportServiceStub(channel)
        self._caller = caller

    async def import_jobs(
        self,
        jobs: Iterable[rpc.ImportedJob],
        *,
        on_progress: Callable[[rpc.ImportJobsResponse], object] | None = None,
        timeout: float = SECONDS_OF_CALL,
    ) -> rpc.ImportJobsResponse:
        """Import jobs with their times and states; returns what became of them, with the first 100 refusals.

        The jobs go in several calls, each of at most 4,000 jobs and repeated when it fails for a reason that may pass:
        a job that a failed attempt had taken then counts as unchanged. While a call is answered, the jobs of the next
        are taken from `jobs`. `on_progress` is called with the sums so far. `timeout` is for each call, in seconds.
        """
        calls, requests = AsyncImport(on_progress), list[rpc.ImportJobsRequest]()
        try:
            for request in _requests(jobs):
                requests.append(request)
                if len(requests) == MESSAGES_IN_CALL:
                    await calls.begin(self._call(requests, timeout), requests)
                    requests = []
                await self._caller.clock.sleep(0)
            if requests:
                await calls.begin(self._call(requests, timeout), requests)
            await calls.finish()
        except Exception:  # of `jobs`: what was sent before is answered first
            await calls.finish()
            raise
        finally:
            calls.leave()
        return calls.said

    def _call(self, requests: Sequence[rpc.ImportJobsRequest], timeout: float) -> "Call[rpc.ImportJobsResponse]":
        method: Any = self._stream
        return lambda: self._caller.call(method, requests, timeout=timeout)

    def _stream(self, requests: Sequence[rpc.ImportJobsRequest], **options: Any) -> Any:  # noqa: ANN401 - gRPC's call
        return self._imports.ImportJobs(iter(requests), **options)


class AsyncImport:
    """The calls of an import, one at a time; `said` is what became of the jobs so far."""

    def __init__(self, on_progress: Callable[[rpc.ImportJobsResponse], object] | None) -> None:
        self.said = rpc.ImportJobsResponse()
        self._on_progress = on_progress
        self._ongoing: AsyncOngoing[rpc.ImportJobsResponse] | None = None
        self._sent = self._answered = 0

    async def begin(self, call: "Call[rpc.ImportJobsResponse]", requests: Sequence[rpc.ImportJobsRequest]) -> None:
        """Begin a call with these requests when the one before is answered."""
        await self.finish()
        self._ongoing = AsyncOngoing(call)
        self._sent += sum(len(request.jobs) for request in requests)

    async def finish(self) -> None:
        """Wait for the answer to the call that goes on, if one does; raises its error."""
        ongoing, self._ongoing = self._ongoing, None
        if ongoing is None:
            return
        _add(self.said, await ongoing.result(), self._answered)
        self._answered = self._sent
        if self._on_progress is not None:
            self._on_progress(self.said)

    def leave(self) -> None:
        """Leave the call that goes on to itself, if one does."""
        if self._ongoing is not None:
            self._ongoing.leave()


def _add(said: rpc.ImportJobsResponse, more: rpc.ImportJobsResponse, number: int) -> None:
    """Add what became of some more jobs, of which the first is the `number`th."""
    said.imported += more.imported
    said.unchanged += more.unchanged
    said.refused += more.refused
    for refusal in more.refusals[: MOST_REFUSALS - len(said.refusals)]:
        refusal.number += number
        said.refusals.append(refusal)


def _requests(jobs: Iterable[rpc.ImportedJob]) -> Iterator[rpc.ImportJobsRequest]:
    """Yield messages of as many jobs, and about as many bytes, as are good for one."""
    some: list[rpc.ImportedJob] = []
    size = 0
    for job in jobs:
        some.append(job)
        size += job.ByteSize()
        if len(some) == JOBS_IN_MESSAGE or size >= BYTES_IN_MESSAGE:
            yield rpc.ImportJobsRequest(jobs=some)
            some, size = [], 0
    if some:
        yield rpc.ImportJobsRequest(jobs=some)
