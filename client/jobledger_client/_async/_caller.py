"""How one call is made: with a deadline, with metadata, and again when that is safe."""

import os
from math import inf
from typing import TYPE_CHECKING, TypeVar

import grpc

from jobledger_client._async._backend import AsyncClock, answer_of
from jobledger_client._errors import ClientClosedError
from jobledger_client._metadata import MetadataSource, metadata_reader
from jobledger_client._retry import Backoff, may_repeat, tells_less
from jobledger_client._status import error_from_call, invalid_reply
from jobledger_client._tracing import traced

if TYPE_CHECKING:
    from jobledger_client._async._backend import UnaryCall
    from jobledger_client._errors import JobledgerError

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncCaller:
    """What all calls of one client share. Times are in seconds."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        metadata: MetadataSource = None,
        timeout: float = 10.0,
        backoff: Backoff | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        self._metadata = metadata_reader(metadata, api_key)
        self._closed = False
        self._process = os.getpid()
        self.timeout = timeout
        self.backoff = backoff or Backoff()
        self.clock = clock or AsyncClock()

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return what goes with one call or stream, the caller's trace included. Raises ClientClosedError."""
        if self._closed:
            raise ClientClosedError("the client is closed", code=grpc.StatusCode.CANCELLED)
        if self._process != os.getpid():
            text = "the client was made before this process was forked: make one after the fork"
            raise ClientClosedError(text, code=grpc.StatusCode.CANCELLED)
        return traced(self._metadata())

    def close(self) -> None:
        """Refuse every later call."""
        self._closed = True

    async def call(
        self,
        method: "UnaryCall[Request, Response]",
        request: Request,
        *,
        idempotent: bool = True,
        timeout: float | None = None,
    ) -> Response:
        """Send the request, again after failures that allow it, until `timeout` (the client's when None) has passed.

        Raises the JobledgerError for the last failure, or for the one before when the last is that time was up.
        """
        deadline = self.deadline(self.timeout if timeout is None else timeout)
        failures = 0
        before: JobledgerError | None = None
        while True:
            try:
                call = method(request, timeout=self.left(deadline), metadata=self.metadata())
                response = await answer_of(call)
            except grpc.RpcError as failure:
                failures += 1
                error = error_from_call(failure, attempts=failures)
                if before is not None and tells_less(error, before):
                    before.attempts = failures
                    raise before from failure
                wait = self.backoff.wait(failures, error, self.clock.random)
                if not may_repeat(error, idempotent=idempotent) or self.clock.monotonic() + wait >= deadline:
                    raise error from failure
                before = error
            else:
                if response is None:  # gRPC's word for a reply that it could not decode
                    raise invalid_reply(attempts=failures + 1)
                return response
            await self.clock.sleep(wait)

    def deadline(self, timeout: float | None) -> float:
        """Return the moment that is `timeout` from now; never, for None."""
        return inf if timeout is None else self.clock.monotonic() + timeout

    def left(self, deadline: float) -> float | None:
        """Return the seconds until the deadline as gRPC wants them: None when there is none."""
        return None if deadline == inf else max(deadline - self.clock.monotonic(), 0.0)
