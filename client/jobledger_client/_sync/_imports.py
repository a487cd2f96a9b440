# Generated from _async/_imports.py by client/generate_sync.py: edit that one, then run `make gen`.
"""The call of ImportService, for those who bring jobs along from the system that they had."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobledger.v1 import import_service_pb2 as rpc
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub

from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel

Item = TypeVar("Item")

JOBS_IN_MESSAGE: Final = 250
MESSAGES_IN_CALL: Final = 8
MOST_REFUSALS: Final = 100


class ImportCalls:
    """What those ask of the service who bring jobs along."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._imports = ImportServiceStub(channel)
        self._caller = caller

    def import_jobs(
        self,
        jobs: Iterable[rpc.ImportedJob],
        *,
        on_progress: Callable[[rpc.ImportJobsResponse], object] | None = None,
        timeout: float | None = None,
    ) -> rpc.ImportJobsResponse:
        """Import jobs with their times and states; returns what became of them, with the first 100 refusals.

        The jobs go in several calls, each repeated when it fails for a reason that may pass: a job that a failed
        attempt had taken then counts as unchanged. `on_progress` is called with the sums so far. `timeout` is for each
        call.
        """
        said, number = rpc.ImportJobsResponse(), 0
        for some in _batches(jobs, JOBS_IN_MESSAGE * MESSAGES_IN_CALL):
            requests = [rpc.ImportJobsRequest(jobs=part) for part in _batches(some, JOBS_IN_MESSAGE)]
            method: Any = self._send
            _add(said, self._caller.call(method, requests, timeout=timeout), number)
            number += len(some)
            if on_progress is not None:
                on_progress(said)
        return said

    def _send(self, requests: list[rpc.ImportJobsRequest], **options: Any) -> Any:  # noqa: ANN401 - what gRPC gives
        return self._imports.ImportJobs(iter(requests), **options)


def _add(said: rpc.ImportJobsResponse, more: rpc.ImportJobsResponse, number: int) -> None:
    """Add what became of some more jobs, of which the first is the `number`th."""
    said.imported += more.imported
    said.unchanged += more.unchanged
    said.refused += more.refused
    for refusal in more.refusals[: MOST_REFUSALS - len(said.refusals)]:
        refusal.number += number
        said.refusals.append(refusal)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while some := list(islice(source, size)):
        yield some
