# Generated from _async/_caller.py by client/generate_sync.py: edit that module, then run `make gen`.
"""One call: its deadline, its metadata, and its repetition when that is safe."""

import os
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from jobledger_client._error_groups import ClientClosedError, JobledgerError
from jobledger_client._metadata import MetadataSource, metadata_reader
from jobledger_client._retry import Backoff, is_less_specific, is_reset, may_repeat
from jobledger_client._status import error_from_call, invalid_reply
from jobledger_client._sync._backend import Clock, is_closed, result_of
from jobledger_client._throttle import Throttle
from jobledger_client._tracing import traced
from jobledger_client._values import seconds

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from jobledger_client._sync._backend import UnaryCall

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response")


class Caller:
    """The settings that all calls of one client share."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        metadata: MetadataSource = None,
        timeout: timedelta = timedelta(seconds=10),
        backoff: Backoff | None = None,
        throttle: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._metadata = metadata_reader(metadata, api_key)
        self._closed = False
        self._process = os.getpid()
        self.timeout = timeout
        self.backoff = backoff or Backoff()
        self.clock = clock or Clock()
        self._throttle = Throttle()
        self._holds_back = throttle

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata of one call or stream, with the caller's trace. Raises ClientClosedError."""
        if self._closed:
            raise _closed("the client is closed")
        self.check_process()
        return traced(self._metadata())

    def check_process(self) -> None:
        """Raise ClientClosedError in a process that was forked from the client's, which lacks its threads."""
        if self._process != os.getpid():
            raise _closed("the client was created before this process was forked; create another one after the fork")

    def close(self) -> None:
        """Refuse every later call."""
        self._closed = True

    def call(
        self,
        method: "UnaryCall[Request, Response]",
        request: Request,
        *,
        idempotent: bool = True,
        timeout: timedelta | None = None,
    ) -> Response:
        """Send the request, and repeat it after failures that allow this, until `timeout` (None: the client's) passes.

        An attempt that the throttle holds back counts as failed. Raises the JobledgerError of the last failure, or of
        the one before it if the last says only that the time was up.
        """
        deadline = self.deadline(self.timeout if timeout is None else timeout)
        self.check_process()  # before the throttle's lock, which a thread of the parent may have held at the fork
        failures = sent = 0
        previous: JobledgerError | None = None
        while True:
            error = self._held_back(request)
            if error is None:
                sent += 1
                try:
                    return self._send(method, request, deadline)
                except JobledgerError as failure:
                    error = failure
            failures += 1
            error.attempts = sent
            if previous is not None and is_less_specific(error, previous):
                previous.attempts = sent
                raise previous from error
            wait = self.backoff.wait(failures, error, self.clock.random)
            if not may_repeat(error, idempotent=idempotent) or self.clock.monotonic() + wait >= deadline:
                raise error
            previous = error
            self.clock.sleep(wait)

    def _held_back(self, request: "Message | Sequence[Message]") -> JobledgerError | None:
        """Return the error of an attempt that the throttle holds back; None if it may be sent."""
        if not self._holds_back:
            return None
        return self._throttle.check(_method_of(request), self.clock.monotonic(), self.clock.random())

    def _send(self, method: "UnaryCall[Request, Response]", request: Request, deadline: float) -> Response:
        """Send the request once. Raises the JobledgerError of its failure."""
        try:
            response: Response = result_of(self.start(method, request, deadline))
        except grpc.RpcError as failure:
            error = error_from_call(failure)
            if self._closed and is_reset(error):
                raise _closed("the client was closed during the call") from failure
            self._throttle.record(_method_of(request), self.clock.monotonic(), error)
            raise error from failure
        self._throttle.record(_method_of(request), self.clock.monotonic(), None)
        if response is None:  # gRPC returns None for a reply that it could not decode
            raise invalid_reply()
        return response

    def start(self, method: Any, request: Any, deadline: float) -> Any:  # noqa: ANN401 - gRPC's call or stream
        """Start a call or a stream. Raises ClientClosedError."""
        try:
            return method(request, timeout=self.remaining(deadline), metadata=self.metadata())
        except Exception as failure:
            if is_closed(failure):
                raise _closed("the client's channel is closed") from failure
            raise

    def deadline(self, timeout: timedelta | None) -> float:
        """Return the monotonic time that is `timeout` from now; infinity for None."""
        return self.clock.monotonic() + seconds(timeout)

    def remaining(self, deadline: float) -> float | None:
        """Return the seconds until the deadline; None, as gRPC wants it, for no deadline."""
        return None if deadline == inf else max(deadline - self.clock.monotonic(), 0.0)


def _closed(message: str) -> ClientClosedError:
    return ClientClosedError(message, code=grpc.StatusCode.CANCELLED)


def _method_of(request: "Message | Sequence[Message]") -> str:
    """Return the method of a request, or of those of a stream: the contract names each request after its method."""
    first = request[0] if isinstance(request, Sequence) else request
    return first.DESCRIPTOR.name.removesuffix("Request")
