# Generated from _async/_exports.py by client/generate_sync.py: edit that module, then run `make gen`.
"""Exports of many jobs as a file: the calls, and the stream that resumes from its last token."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Self, Unpack

from jobledger.v1.export_pb2 import ExportJobsRequest, ExportJobsResponse
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from jobledger_client import _requests as requests
from jobledger_client._generated._enums import ExportFormat
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._stream import ResumingStream

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel, StreamCall


class Export:
    """The bytes of an export, in pieces of whole lines. It resumes by itself after the last piece returned.

    A piece may be empty: nothing matched for a while, but `percent` has moved. Raises HistoryTrimmedError when the
    service no longer has the history since the export began, PageTokenInvalidError for a token of another export,
    InvalidFieldError, DeadlineExceededError after its timeout, and UnavailableError when no server answers for
    `reconnect_timeout`.
    """

    def __init__(
        self,
        caller: Caller,
        method: "StreamCall[ExportJobsRequest, ExportJobsResponse]",
        request: ExportJobsRequest,
        *,
        timeout: timedelta | None,
        reconnect_timeout: timedelta | None,
    ) -> None:
        self._request = request
        self._last = ExportJobsResponse(resume_token=request.resume_token)
        self._is_complete = False
        self._stream: ResumingStream[ExportJobsResponse] = ResumingStream(
            caller, method, self._next_request, timeout=timeout, reconnect_timeout=reconnect_timeout
        )

    @property
    def resume_token(self) -> str:
        """Where another export with the same request resumes; empty before the first piece and after the last."""
        return self._last.resume_token

    @property
    def cursor(self) -> bytes:
        """The position at which every job is shown, from which a watch may continue; empty before the first piece."""
        return self._last.cursor

    @property
    def row_count(self) -> int:
        """How many jobs were returned, from the beginning of the export."""
        return self._last.row_count

    @property
    def unreadable_row_count(self) -> int:
        """How many of the rows cannot be shown, because the stored job is damaged."""
        return self._last.unreadable_row_count

    @property
    def percent(self) -> float:
        """About how much of the jobs has been read, 0 to 100."""
        return self._last.percent

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._is_complete:
            raise StopIteration
        piece = next(self._stream)
        self._last, self._is_complete = piece, not piece.resume_token
        return piece.data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the export. Further iteration ends at once."""
        self._stream.close()

    def _next_request(self) -> ExportJobsRequest:
        request = ExportJobsRequest()
        request.CopyFrom(self._request)
        request.resume_token = self._last.resume_token
        return request


class ExportCalls:
    """Export many jobs as a file."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = JobServiceStub(channel)
        self._caller = caller

    def export_jobs(
        self,
        format: ExportFormat,  # noqa: A002 - the contract's name for it
        *,
        columns: Iterable[str] = (),
        label_columns: Iterable[str] = (),
        resume_token: str = "",
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
        **filter: Unpack[requests.ReadFilterFields],  # noqa: A002 - the contract's name for it
    ) -> Export:
        """Export every job that matches the filter, oldest first, all as they were at one position of the ledger.

        `columns` are those to write, all when empty; `label_columns` are labels to write
        as columns. With the `resume_token` of an earlier export with the same request, it resumes there. `timeout`
        limits the whole export, `reconnect_timeout` how long it looks for a server once it has begun; None means no
        limit.
        """
        request = requests.export_request(format, columns, label_columns, filter)
        request.resume_token = resume_token
        return self.resume_export(request, timeout=timeout, reconnect_timeout=reconnect_timeout)

    def resume_export(
        self,
        request: ExportJobsRequest,
        *,
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
    ) -> Export:
        """Resume an export: `request` is its first request, with its last `resume_token`."""
        return Export(
            self._caller, self._stub.ExportJobs, request, timeout=timeout, reconnect_timeout=reconnect_timeout
        )
