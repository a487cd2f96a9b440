"""A watch: a stream of job changes that resumes from its last cursor."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from jobledger.v1.job_service_pb2 import WatchJobRequest, WatchJobResponse, WatchJobsRequest, WatchJobsResponse

from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._stream import AsyncResumingStream
from jobledger_client._error_groups import CursorError, JobledgerError
from jobledger_client._generated._enums import WatchMessageType
from jobledger_client._generated._errors import HistoryLostError, HistoryTrimmedError
from jobledger_client._seen_jobs import Relist, SeenJobs
from jobledger_client._terminal_states import TERMINAL_STATES
from jobledger_client._values import number

if TYPE_CHECKING:
    from jobledger_client._async._backend import StreamCall

logger = logging.getLogger("jobledger_client.watch")

Request = TypeVar("Request", WatchJobRequest, WatchJobsRequest)
Message = TypeVar("Message", WatchJobResponse, WatchJobsResponse)


class AsyncWatch(Generic[Request, Message]):
    """The messages of a watch, in order, each once. It resumes by itself from its last cursor.

    Raises HistoryTrimmedError, ForeignCursorError or HistoryLostError for a cursor that no longer works,
    JobNotFoundError, InvalidFieldError, DeadlineExceededError after the watch's timeout, and UnavailableError when no
    server answers for `reconnect_timeout`.

    With `relist`, it restarts without a cursor instead of raising HistoryTrimmedError or HistoryLostError.
    """

    def __init__(
        self,
        caller: AsyncCaller,
        method: "StreamCall[Request, Message]",
        request: Request,
        *,
        one_job: bool,
        bookmarks: bool,
        timeout: timedelta | None,
        reconnect_timeout: timedelta | None,
        relist: bool = False,
        on_relist: Callable[[Relist], object] | None = None,
    ) -> None:
        self._request: Request = request
        self._cursor = request.cursor
        self._one_job = one_job
        self._bookmarks = bookmarks
        self._relist = relist
        self._on_relist = on_relist
        self._seen = SeenJobs()
        self._relist_error: CursorError | None = None
        self._received_job: bool | None = None
        """Whether this connection brought a message with a job; None before its first message."""
        self._is_terminal = False
        self._received: deque[Message] = deque()
        """The messages of a batch that are still to come."""
        self._ready: deque[Message] = deque()
        self._stream: AsyncResumingStream[Message] = AsyncResumingStream(
            caller,
            method,
            self._next_request,
            timeout=timeout,
            reconnect_timeout=reconnect_timeout,
            is_complete=self._is_complete,
            recover=self._restart,
        )

    @property
    def interruption(self) -> JobledgerError | None:
        """Why the watch is down, from any thread; None once a message arrives again."""
        return self._stream.interruption

    @property
    def cursor(self) -> bytes:
        """Where another watch may resume: after the last message returned, also within the snapshots."""
        return self._cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._ready:
            if not self._received:
                self._received.extend(_each(await anext(self._stream)))
            self._receive(self._received.popleft())
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch. Further iteration ends at once."""
        self._received.clear()
        self._ready.clear()
        self._stream.close()

    def _next_request(self) -> Request:
        if not self._cursor:
            self._seen.begin_snapshots()
        self._received_job = None
        request = type(self._request)()
        request.CopyFrom(self._request)
        request.cursor = self._cursor
        if isinstance(request, WatchJobsRequest) and (self._cursor or self._relist_error is not None):
            request.from_now = False
        return request

    def _is_complete(self, is_ok: bool) -> bool:  # noqa: FBT001 - one argument, named in AsyncResumingStream
        """Return whether the job has ended. Bookmarks alone, then OK: the cursor was past the job's own end."""
        self._is_terminal |= is_ok and self._one_job and self._received_job is False
        return self._is_terminal

    def _restart(self, error: JobledgerError) -> bool:
        """Drop a cursor that no longer works, if the watch may; return whether it did."""
        if not self._relist or not isinstance(error, HistoryTrimmedError | HistoryLostError):
            return False
        logger.warning("the watch restarts from the jobs as they are now: %s", error)
        self._relist_error = error
        self._cursor = b""
        return True

    def _receive(self, message: Message) -> None:
        """Move the cursor, and queue the message if the caller may see it."""
        is_bookmark = message.type == WatchMessageType.BOOKMARK
        self._received_job = bool(self._received_job) or not is_bookmark
        is_shown = self._bookmarks if is_bookmark else self._seen.add(message)
        if (is_bookmark or self._one_job) and self._seen.in_snapshots:
            self._end_snapshots(type(message))
        self._cursor = message.cursor or self._cursor
        if is_shown:
            self._ready.append(message)
        if self._one_job and not is_bookmark:
            is_deleted = message.type == WatchMessageType.DELETED
            self._is_terminal = is_deleted or message.job.state in TERMINAL_STATES

    def _end_snapshots(self, message_type: type[Message]) -> None:
        """Queue LEFT for the jobs that disappeared before a restart, and call `on_relist` after one."""
        removed, present = self._seen.end_snapshots()
        left_type = number(WatchMessageType.LEFT)
        self._ready.extend(message_type(type=left_type, job=job) for job in removed)
        error, self._relist_error = self._relist_error, None
        if error is not None and self._on_relist is not None:
            self._on_relist(Relist(error, present))


def _each(message: Message) -> Iterator[Message]:
    """Yield a message and those that came with it."""
    following: list[Message] = list(getattr(message, "following", ()))  # WatchJobResponse has none
    if following:
        message.ClearField("following")  # type: ignore[arg-type]
    yield message
    yield from following
