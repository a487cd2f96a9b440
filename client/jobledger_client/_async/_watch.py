"""A watch that goes on over reconnects: the caller sees one stream."""

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import grpc
from jobledger.v1.job_service_pb2 import (
    WatchJobRequest,
    WatchJobResponse,
    WatchJobsRequest,
    WatchJobsResponse,
    WatchMessageType,
)

from jobledger_client._async._backend import read
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._errors import (
    CursorAheadError,
    CursorError,
    DeadlineExceededError,
    HistoryTrimmedError,
    JobledgerError,
    UnavailableError,
)
from jobledger_client._retry import Outage, may_resume
from jobledger_client._snapshots import Relist, Told
from jobledger_client._status import error_from_call
from jobledger_client._values import TERMINAL_STATES

if TYPE_CHECKING:
    from jobledger_client._async._backend import Stream, StreamCall

logger = logging.getLogger("jobledger_client.watch")

Request = TypeVar("Request", WatchJobRequest, WatchJobsRequest)
Message = TypeVar("Message", WatchJobResponse, WatchJobsResponse)


class AsyncWatch(Generic[Request, Message]):
    """The messages of a watch, in order, each once. It resumes by itself from its last cursor.

    `cursor` is where another watch may resume: after the last message that was returned. `interruption` tells, from any
    thread, why the stream is down while the watch reconnects. Raises HistoryTrimmedError,
    ForeignCursorError or CursorAheadError when the cursor no longer works, JobNotFoundError, InvalidFieldError,
    DeadlineExceededError after the watch's timeout, and UnavailableError when no server was found for too long.

    With `relist`, it begins again without a cursor in place of raising HistoryTrimmedError or CursorAheadError.
    """

    def __init__(
        self,
        caller: AsyncCaller,
        method: "StreamCall[Request, Message]",
        request: Request,
        *,
        one_job: bool,
        bookmarks: bool,
        timeout: float | None,
        patience: float,
        relist: bool = False,
        on_relist: Callable[[Relist], object] | None = None,
    ) -> None:
        self._caller = caller
        self._method: StreamCall[Request, Message] = method
        self._request: Request = request
        self._cursor = request.cursor
        self._one_job = one_job
        self._bookmarks = bookmarks
        self._deadline = caller.deadline(timeout)
        self._outage = Outage(caller.backoff, first_patience=caller.timeout, patience=patience)
        self._relist = relist
        self._on_relist = on_relist
        self._told = Told()
        self._lost: CursorError | None = None
        self._stream_told: int | None = None
        self._stream: Stream[Message] | None = None
        self._ready: deque[Message] = deque()
        self._terminal = False
        self._ended = False
        self._interruption: JobledgerError | None = None

    @property
    def interruption(self) -> JobledgerError | None:
        """Why the stream is down, until a message comes again; None while it is up."""
        return self._interruption

    @property
    def cursor(self) -> bytes:
        """Where to resume: what was returned so far is before it. Empty until the snapshots have ended."""
        return self._cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._ready:
            message = await self._receive()
            if message is None:
                raise StopAsyncIteration
            self._take(message)
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch. Further iteration ends at once."""
        self._ended = True
        self._ready.clear()
        self._drop_stream()

    async def _receive(self) -> Message | None:
        while not self._ended:
            try:
                message = await read(self._stream or self._open())
            except grpc.RpcError as failure:
                await self._resume_after(error_from_call(failure), failure)
            except BaseException:  # a cancelled read takes its stream along; a later one opens another
                self._drop_stream()
                raise
            else:
                if message is not None:
                    self._outage.ended()
                    self._interruption = None
                    return message
                # Nothing but bookmarks and then a good end: the cursor was past the job's own end.
                self._terminal |= self._one_job and self._stream_told == 0
                await self._resume_after(UnavailableError("the stream ended before the job did"), None)
        return None

    def _open(self) -> "Stream[Message]":
        if not self._cursor:
            self._told.begin()
        self._stream_told = None
        request = type(self._request)()
        request.CopyFrom(self._request)
        request.cursor = self._cursor
        timeout = self._caller.left(self._deadline)
        self._stream = self._method(request, timeout=timeout, metadata=self._caller.metadata())
        return self._stream

    def _drop_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _resume_after(self, error: JobledgerError, cause: BaseException | None) -> None:
        """Wait until the stream may be opened again; note the end, or raise, when it may not."""
        self._stream = None
        if self._terminal:  # whatever ended the stream, there was nothing more to come
            self._ended = True
        if self._ended:
            return
        again = self._begin_again(error)
        now = self._caller.clock.monotonic()
        wait = self._outage.wait(error, now, self._caller.clock.random) if again or may_resume(error) else None
        if wait is None:
            self._ended = True
            raise error from cause
        if now + wait >= self._deadline:
            self._ended = True
            raise DeadlineExceededError(
                f"the time given to the watch ended while no server answered: {error.message}",
                code=grpc.StatusCode.DEADLINE_EXCEEDED,
            ) from cause
        self._interruption = error
        await self._caller.clock.sleep(wait)

    def _begin_again(self, error: JobledgerError) -> bool:
        """Forget a cursor that no longer works, if the watch may; tell whether it did."""
        if not self._relist or not isinstance(error, HistoryTrimmedError | CursorAheadError):
            return False
        logger.warning("the watch begins again from the jobs as they are now: %s", error)
        if isinstance(error, CursorAheadError):
            self._told.rewound()
        self._lost = error
        self._cursor = b""
        return True

    def _take(self, message: Message) -> None:
        """Note where the message leads, and make ready what the caller is to see of it."""
        bookmark = message.type == WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK
        self._stream_told = (self._stream_told or 0) + (not bookmark)
        wanted = self._bookmarks if bookmark else self._told.is_news(message)
        if message.cursor:
            if not self._cursor:
                self._end_snapshots(type(message))
            self._cursor = message.cursor
        if wanted:
            self._ready.append(message)
        if self._one_job and not bookmark:
            deleted = message.type == WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
            self._terminal = deleted or message.job.state in TERMINAL_STATES

    def _end_snapshots(self, message_type: type[Message]) -> None:
        """Announce the jobs that went away while the watch began again, and tell the caller if it lost history."""
        gone, present = self._told.end()
        left = WatchMessageType.WATCH_MESSAGE_TYPE_LEFT
        self._ready.extend(message_type(type=left, job=job) for job in gone)
        lost, self._lost = self._lost, None
        if lost is not None and self._on_relist is not None:
            self._on_relist(Relist(lost, present))
