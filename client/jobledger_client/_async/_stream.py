"""A stream that resumes: over as many connections as it takes, its reader sees one sequence of messages."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import grpc

from jobledger_client._async._backend import read
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._error_groups import DeadlineExceededError, JobledgerError, UnavailableError
from jobledger_client._retry import Outage, may_resume
from jobledger_client._status import error_from_call
from jobledger_client._values import seconds

if TYPE_CHECKING:
    from jobledger_client._async._backend import Stream, StreamCall

Message = TypeVar("Message")


class AsyncResumingStream(Generic[Message]):
    """The messages of a stream. After a failure that passes it reconnects with the request that continues it.

    `next_request` returns that request. `is_complete` returns whether nothing is left to come when a connection ends;
    its argument is whether the status was OK. `recover` returns whether the stream may restart after an error that
    would end it. `timeout` limits the whole stream, `reconnect_timeout` one outage; None means no limit.
    Raises DeadlineExceededError after `timeout`, and the error of the last connection when it gives up.
    """

    def __init__(
        self,
        caller: AsyncCaller,
        method: "StreamCall[Any, Message]",
        next_request: Callable[[], Any],
        *,
        timeout: timedelta | None,
        reconnect_timeout: timedelta | None,
        is_complete: Callable[[bool], bool] = lambda _: False,
        recover: Callable[[JobledgerError], bool] = lambda _: False,
    ) -> None:
        self._caller = caller
        self._method: StreamCall[Any, Message] = method
        self._next_request = next_request
        self._deadline = caller.deadline(timeout)
        self._outage = Outage(caller.backoff, first_timeout=seconds(caller.timeout), timeout=seconds(reconnect_timeout))
        self._is_complete = is_complete
        self._recover = recover
        self._connection: Stream[Message] | None = None
        self._ended = False
        self._interruption: JobledgerError | None = None

    @property
    def interruption(self) -> JobledgerError | None:
        """Why the stream is down; None once a message arrives again. Any thread may read it."""
        return self._interruption

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        self._caller.check_process()
        while not self._ended:
            try:
                message = await read(self._connection or self._connect())
            except grpc.RpcError as failure:
                await self._reconnect_after(error_from_call(failure), failure)
            except BaseException:  # a cancelled read ends its connection; a later read opens another one
                self._disconnect()
                raise
            else:
                if message is not None:
                    self._outage.reset()
                    self._interruption = None
                    return message
                await self._reconnect_after(UnavailableError("the server ended the stream early"), None)
        raise StopAsyncIteration

    def close(self) -> None:
        """End the stream. Further iteration ends at once."""
        self._ended = True
        self._disconnect()

    def _connect(self) -> "Stream[Message]":
        connection: Stream[Message] = self._caller.start(self._method, self._next_request(), self._deadline)
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.cancel()
            self._connection = None

    async def _reconnect_after(self, error: JobledgerError, cause: BaseException | None) -> None:
        """Wait until the stream may reconnect; end it when it is complete, or raise when it may not."""
        self._connection = None
        self._ended = self._ended or self._is_complete(cause is None)
        if self._ended:
            return
        may_reconnect = self._recover(error) or may_resume(error)
        now = self._caller.clock.monotonic()
        wait = self._outage.wait(error, now, self._caller.clock.random) if may_reconnect else None
        self._ended = wait is None or now + wait >= self._deadline
        if wait is None:
            raise error from cause
        if self._ended:
            raise DeadlineExceededError(
                f"the timeout of the stream passed while no server answered: {error.message}",
                code=grpc.StatusCode.DEADLINE_EXCEEDED,
            ) from cause
        self._interruption = error
        await self._caller.clock.sleep(wait)
