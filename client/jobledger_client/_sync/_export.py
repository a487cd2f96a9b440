# Generated from _async/_export.py by client/generate_sync.py: edit that one, then run `make gen`.
"""An export that goes on over reconnects: the caller sees one file."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, Unpack

import grpc
from jobledger.v1.export_pb2 import ExportJobsRequest, ExportJobsResponse
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._errors import DeadlineExceededError, JobledgerError, UnavailableError
from jobledger_client._retry import Outage, may_resume
from jobledger_client._status import error_from_call
from jobledger_client._sync._backend import read
from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel, Stream, StreamCall


class Export:
    """The bytes of an export, in pieces of whole lines. It resumes by itself, after the last piece that was returned.

    A piece may be empty: then nothing matched for a while, and `percent` has moved. Raises HistoryTrimmedError when
    the service no longer has the history since the export began, PageTokenInvalidError for a token of another export,
    InvalidFieldError, DeadlineExceededError after its timeout, UnavailableError when no server was found for too long.
    """

    def __init__(
        self,
        caller: Caller,
        method: "StreamCall[ExportJobsRequest, ExportJobsResponse]",
        request: ExportJobsRequest,
        *,
        timeout: float | None,
        patience: float,
    ) -> None:
        self._caller = caller
        self._method: StreamCall[ExportJobsRequest, ExportJobsResponse] = method
        self._request = request
        self._last = ExportJobsResponse(resume_token=request.resume_token)
        self._deadline = caller.deadline(timeout)
        self._outage = Outage(caller.backoff, first_patience=caller.timeout, patience=patience)
        self._stream: Stream[ExportJobsResponse] | None = None
        self._ended = False

    @property
    def resume_token(self) -> str:
        """Where another export with the same request goes on; empty before the first piece and after the last."""
        return self._last.resume_token

    @property
    def cursor(self) -> bytes:
        """The position at which every job is shown, which a watch may go on from; empty before the first piece."""
        return self._last.cursor

    @property
    def rows(self) -> int:
        """How many jobs were returned, from the beginning of the export."""
        return self._last.rows

    @property
    def unreadable_rows(self) -> int:
        """How many of the rows could not be shown: what is stored of these jobs is damaged."""
        return self._last.unreadable_rows

    @property
    def percent(self) -> float:
        """About how much of the jobs has been looked at, 0 to 100."""
        return self._last.percent

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while not self._ended:
            try:
                piece = read(self._stream or self._open())
            except grpc.RpcError as failure:
                self._resume_after(error_from_call(failure), failure)
            except BaseException:  # a cancelled read takes its stream along; a later one opens another
                self._drop_stream()
                raise
            else:
                if piece is not None:
                    self._outage.ended()
                    self._last = piece
                    self._ended = not piece.resume_token
                    return piece.data
                self._resume_after(UnavailableError("the stream ended before the export did"), None)
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the export. Further iteration ends at once."""
        self._ended = True
        self._drop_stream()

    def _open(self) -> "Stream[ExportJobsResponse]":
        request = ExportJobsRequest()
        request.CopyFrom(self._request)
        request.resume_token = self._last.resume_token
        timeout = self._caller.left(self._deadline)
        self._stream = self._method(request, timeout=timeout, metadata=self._caller.metadata())
        return self._stream

    def _drop_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    def _resume_after(self, error: JobledgerError, cause: BaseException | None) -> None:
        """Wait until the stream may be opened again; raise when it may not."""
        self._stream = None
        now = self._caller.clock.monotonic()
        wait = self._outage.wait(error, now, self._caller.clock.random) if may_resume(error) else None
        if wait is None:
            self._ended = True
            raise error from cause
        if now + wait >= self._deadline:
            self._ended = True
            raise DeadlineExceededError(
                f"the time given to the export ended while no server answered: {error.message}",
                code=grpc.StatusCode.DEADLINE_EXCEEDED,
            ) from cause
        self._caller.clock.sleep(wait)


class ExportCalls:
    """What those ask of the service who want many jobs as a file."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._exports = JobServiceStub(channel)
        self._caller = caller

    def export_jobs(
        self,
        format: values.ExportFormatLike,  # noqa: A002 - the contract's name for it
        *,
        columns: Iterable[str] = (),
        label_columns: Iterable[str] = (),
        resume_token: str = "",
        timeout: float | None = None,
        patience: float = 300.0,
        **filter: Unpack[requests.JobFilterFields],  # noqa: A002 - the contract's name for it
    ) -> Export:
        """Export every job that matches the filter, oldest first, all as they were at one position of the ledger.

        `format` is "csv" or "jsonl". `columns` are those to write, all when empty; `label_columns` are labels to write
        in columns of their own. With the `resume_token` of an earlier export with the same request, it goes on there.
        `timeout` limits the whole export, None not at all; `patience` is how long no server may be found once it has
        begun. Both are in seconds.
        """
        request = requests.export_request(format, columns, label_columns, filter)
        request.resume_token = resume_token
        return self.resume_export(request, timeout=timeout, patience=patience)

    def resume_export(
        self, request: ExportJobsRequest, *, timeout: float | None = None, patience: float = 300.0
    ) -> Export:
        """Go on with an export from the request that it began with, in which its last `resume_token` is filled in."""
        return Export(self._caller, self._exports.ExportJobs, request, timeout=timeout, patience=patience)
