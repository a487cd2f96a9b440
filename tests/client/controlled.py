"""A client over a channel whose other end the test plays, with time that the test sets."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Semaphore, Thread
from typing import Any

import grpc
import grpc_testing
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from jobledger.v1 import admin_service_pb2, job_service_pb2, worker_service_pb2
from jobledger_client import Clock, JobClient

from tests.support.bounds import BOUND

JOBS = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKERS = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
ADMINS = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]


@dataclass
class SetTime:
    """Time that passes only while the client sleeps, or when the test says so; chance is always a half."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(monotonic=self.monotonic, sleep=self.sleep, random=lambda: 0.5)


class TimedChannel:
    """The controllable channel, noting the timeout of each call, which grpc_testing forgets."""

    def __init__(self, channel: grpc_testing.Channel) -> None:
        self._channel = channel
        self.timeouts: list[float | None] = []
        self.taken = Semaphore(0)

    def unary_unary(self, method: str, **serializers: object) -> Callable[..., Any]:
        return self._noting(self._channel.unary_unary(method))

    def unary_stream(self, method: str, **serializers: object) -> Callable[..., Any]:
        call = self._noting(self._channel.unary_stream(method))
        return lambda *args, **options: NotedStream(call(*args, **options), self.taken)

    def stream_unary(self, method: str, **serializers: object) -> Callable[..., Any]:
        return self._noting(self._channel.stream_unary(method))

    def close(self) -> None:
        self._channel.close()

    def _noting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(request: Message, *, timeout: float | None, metadata: Any) -> Any:
            self.timeouts.append(timeout)
            return call(request, timeout=timeout, metadata=metadata)

        return noted


class NotedStream:
    """A stream that tells how many messages the client has taken: an error overtakes those that it has not."""

    def __init__(self, stream: Any, taken: Semaphore) -> None:
        self._stream = stream
        self._taken = taken

    def __next__(self) -> Any:
        message = next(self._stream)
        self._taken.release()
        return message

    def cancel(self) -> None:
        self._stream.cancel()


class Played:
    """The client, on a thread of its own, and the server that the test plays."""

    def __init__(self, **settings: Any) -> None:
        self._other_end = grpc_testing.channel([JOBS, WORKERS, ADMINS], grpc_testing.strict_fake_time(0))
        self.time = SetTime()
        self.channel = TimedChannel(self._other_end)
        self.client = JobClient(channel=self.channel, clock=self.time.clock(), **settings)

    def start(self, work: Callable[[JobClient], Any]) -> Future[Any]:
        """Begin some work of the client; its result is the future's."""
        future: Future[Any] = Future()

        def target() -> None:
            try:
                future.set_result(work(self.client))
            except Exception as error:  # noqa: BLE001 - the test looks at it
                future.set_exception(error)

        Thread(target=target, daemon=True).start()  # a client that hangs fails its test, not those after it
        return future

    def take(self, method: str) -> tuple[Any, Any, Any]:
        """Wait for a call; return its metadata, its request and the means to answer."""
        [service] = [one for one in (JOBS, WORKERS, ADMINS) if method in one.methods_by_name]
        descriptor = service.methods_by_name[method]
        if descriptor.server_streaming:
            return self._other_end.take_unary_stream(descriptor)
        return self._other_end.take_unary_unary(descriptor)

    def send(self, method: str, *messages: Message) -> tuple[Any, Any]:
        """Send messages on the next stream until they are taken; return its request and the stream, still open."""
        _, request, stream = self.take(method)
        for message in messages:
            stream.send_response(message)
            assert self.channel.taken.acquire(timeout=BOUND)
        return request, stream

    def answer(self, method: str, response: Message) -> Any:
        """Answer the next call; return its request."""
        _, request, call = self.take(method)
        call.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, method: str, code: grpc.StatusCode, reason: str = "", **details: Any) -> Any:
        """Refuse the next call, or stream; return its request."""
        _, request, call = self.take(method)
        self.end(call, method, code, reason, **details)
        return request

    def end(self, call: Any, method: str, code: grpc.StatusCode, reason: str = "", **details: Any) -> None:
        """End a call that was taken with an error."""
        trailing, text = trailers(code, reason, **details) if reason else ((), "the connection is gone")
        streaming = method in {"WatchJob", "WatchJobs", "ExportJobs", "WatchLeases"}
        call.terminate(*([] if streaming else [None]), trailing, code, text)


def trailers(
    code: grpc.StatusCode,
    reason: str,
    *,
    message: str = "refused",
    metadata: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    retry_after: float | None = None,
    domain: str = "jobledger",
) -> tuple[Any, str]:
    """Return what a server sends at the end of a refused call, encoded as servers do."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {})]
    if fields:
        violation = error_details_pb2.BadRequest.FieldViolation
        found = [violation(field=name, description=rule) for name, rule in fields.items()]
        details.append(error_details_pb2.BadRequest(field_violations=found))
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after))
        details.append(retry)
    status = rpc_status.to_status(
        status_pb2.Status(code=code.value[0], message=message, details=[_packed(one) for one in details])
    )
    return status.trailing_metadata, status.details


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
