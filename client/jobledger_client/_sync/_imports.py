# Generated from _async/_imports.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The call of ImportService: jobs of another system, with their times and states."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobledger.v1 import import_service_pb2 as rpc
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub

from jobledger_client._sync._backend import PendingCall
from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Call, Channel

MAX_MESSAGE_JOBS: Final = 500
FULL_MESSAGE_BYTES: Final = 1024 * 1024
"""A message of this size takes no further job."""
MAX_CALL_MESSAGES: Final = 8
CALL_TIMEOUT: Final = timedelta(minutes=1)
MAX_REFUSALS: Final = 100


class ImportCalls:
    """Import jobs of another system."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = ImportServiceStub(channel)
        self._caller = caller

    def import_jobs(
        self,
        jobs: Iterable[rpc.ImportedJob],
        *,
        on_progress: Callable[[rpc.ImportJobsResponse], object] | None = None,
        timeout: timedelta = CALL_TIMEOUT,
    ) -> rpc.ImportJobsResponse:
        """Import jobs with their times and states; return the counts and the first 100 refusals.

        The jobs are sent in several calls, each of at most 4,000 jobs and repeated after a transient failure: a job
        that a failed attempt had imported then counts as unchanged. While one call runs, the jobs of the next are read
        from `jobs`. `on_progress` is called with the counts so far. `timeout` limits each call.
        """
        calls, requests = Import(on_progress), list[rpc.ImportJobsRequest]()
        try:
            for request in _requests(jobs):
                requests.append(request)
                if len(requests) == MAX_CALL_MESSAGES:
                    calls.start(self._call(requests, timeout), requests)
                    requests = []
                self._caller.clock.sleep(0)
            if requests:
                calls.start(self._call(requests, timeout), requests)
            calls.finish()
        except Exception:  # raised by `jobs`: the call in flight finishes first
            calls.finish()
            raise
        finally:
            calls.abandon()
        return calls.counts

    def _call(self, requests: Sequence[rpc.ImportJobsRequest], timeout: timedelta) -> "Call[rpc.ImportJobsResponse]":
        method: Any = self._stream
        return lambda: self._caller.call(method, requests, timeout=timeout)

    def _stream(self, requests: Sequence[rpc.ImportJobsRequest], **options: Any) -> Any:  # noqa: ANN401 - gRPC's call
        return self._stub.ImportJobs(iter(requests), **options)


class Import:
    """The calls of an import, one at a time; `counts` has the outcome of the jobs so far."""

    def __init__(self, on_progress: Callable[[rpc.ImportJobsResponse], object] | None) -> None:
        self.counts = rpc.ImportJobsResponse()
        self._on_progress = on_progress
        self._pending: PendingCall[rpc.ImportJobsResponse] | None = None
        self._sent_jobs = self._counted_jobs = 0

    def start(self, call: "Call[rpc.ImportJobsResponse]", requests: Sequence[rpc.ImportJobsRequest]) -> None:
        """Start a call with these requests once the previous one has its response."""
        self.finish()
        self._pending = PendingCall(call)
        self._sent_jobs += sum(len(request.jobs) for request in requests)

    def finish(self) -> None:
        """Wait for the response of the call in flight, if there is one; raises its error."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        _add(self.counts, pending.result(), self._counted_jobs)
        self._counted_jobs = self._sent_jobs
        if self._on_progress is not None:
            self._on_progress(self.counts)

    def abandon(self) -> None:
        """Stop waiting for the call in flight, if there is one."""
        if self._pending is not None:
            self._pending.abandon()


def _add(counts: rpc.ImportJobsResponse, more: rpc.ImportJobsResponse, first_number: int) -> None:
    """Add the counts of further jobs; `first_number` is the number of the first of them."""
    counts.imported += more.imported
    counts.unchanged += more.unchanged
    counts.refused += more.refused
    for refusal in more.refusals[: MAX_REFUSALS - len(counts.refusals)]:
        refusal.number += first_number
        counts.refusals.append(refusal)


def _requests(jobs: Iterable[rpc.ImportedJob]) -> Iterator[rpc.ImportJobsRequest]:
    """Yield messages within both bounds."""
    batch: list[rpc.ImportedJob] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += job.ByteSize()
        if len(batch) == MAX_MESSAGE_JOBS or size >= FULL_MESSAGE_BYTES:
            yield rpc.ImportJobsRequest(jobs=batch)
            batch, size = [], 0
    if batch:
        yield rpc.ImportJobsRequest(jobs=batch)
