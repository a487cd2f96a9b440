"""One call from its first byte to its status: its caller, its end, its log line and its metrics."""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import structlog
from google.protobuf.message import Message
from msgspec import Struct as MsgStruct

from . import trace_context as traces
from .identity import PUBLIC_CALLER, Caller
from .methods import Method
from .metrics import MethodMetrics
from .refusals import MessageTooLarge
from .units import MICROS_PER_SECOND
from .usage import UsageCounts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .tracing import CallTracer, OpenSpan

    Context = grpc.aio.ServicerContext[Any, Any]  # generic in its stubs only
else:
    Context = grpc.aio.ServicerContext

log = structlog.get_logger(__name__)

REQUEST_ID: Final = "x-request-id"
CALLER_LEFT: Final = "CANCELLED"
"""The code of a call whose caller left."""
MAX_ID_LENGTH: Final = 128
"""Characters of a job_id in the log, for there is no job with a longer one, and of the id that a caller gave a call."""


class MethodHandler(MsgStruct, frozen=True):
    """A method as it is served: what it requires of callers and requests, who answers, and what counts its calls.

    `make` makes of a request what `answer` takes, so that the request goes; it may run on a thread. `max_bytes` is for
    one request.
    """

    method: Method
    metrics: MethodMetrics
    request: type[Message]
    reply: type[Message]
    make: Callable[[Any, Caller], Any] | None
    answer: Callable[[Any, Caller], Any]
    max_bytes: int
    keeps_trace: bool


class AccessLog:
    """Which successful calls are logged: all at level debug, else a share of them, 0 to 1, at level info."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._is_debug = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)

    def level(self) -> int | None:
        """Return the log level of this call, None for no line."""
        if self._rate and random.random() < self._rate:  # noqa: S311  a sample, not a secret
            return logging.INFO
        return logging.DEBUG if self._is_debug else None


class Call:
    """One call, while it runs. Until better is known, the code is that of a caller who left, and the tally nobody's.

    Its request is not kept here: what waits for the writer is the command that was made of it.
    """

    __slots__ = (
        "_access",
        "_began",
        "_open",
        "_span",
        "_tracer",
        "caller",
        "code",
        "context",
        "handler",
        "job_id",
        "owner",
        "reply",
        "usage",
    )

    def __init__(
        self, handler: MethodHandler, context: Context, access: AccessLog, tracer: "CallTracer | None"
    ) -> None:
        self.handler = handler
        self.context = context
        self.job_id = self.owner = ""
        self.reply: Any = None
        self.caller = PUBLIC_CALLER
        self.code = CALLER_LEFT
        self.usage = UsageCounts()
        self._access = access
        self._tracer = tracer
        self._open: AbstractContextManager[OpenSpan] | None = None
        self._span: OpenSpan | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        self.handler.metrics.began()
        self._began = time.perf_counter()
        if self._tracer is not None:
            self._open = self._tracer.span(self.handler.method.service, self.handler.method.name, self._metadata())
            self._span = self._open.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._began
        self.usage.calls += 1
        self.usage.micros += round(seconds * MICROS_PER_SECOND)
        if self._open is not None and self._span is not None:
            self._span.end(self.code)
            self._open.__exit__(None, None, None)
        self.handler.metrics.ended(self.code, seconds)
        if self.code in ("OK", CALLER_LEFT) and (level := self._access.level()) is not None:
            log.log(level, "served", code=self.code, seconds=round(seconds, 6), **self.log_fields())

    def received(self, size: int) -> None:
        """Count the bytes of a request; raises MessageTooLarge."""
        self.usage.received += size
        if size > self.handler.max_bytes:
            raise MessageTooLarge(self.caller.key_id, size, self.handler.max_bytes)

    def drop_references(self, error: Exception) -> None:
        """Drop the reply, and the frames that the error holds.

        gRPC keeps the exception that ends a call in a cycle with the call; until the collector comes by, which is
        seldom, it would keep the messages of all refused calls in memory.
        """
        self.reply = None
        error.__cause__ = error.__context__ = None
        error.with_traceback(None)

    def log_fields(self) -> dict[str, object]:
        """Return the fields of each log line of this call."""
        return {
            "method": self.handler.method.name,
            "job_id": self._named() or None,
            "owner": self.owner or None,
            "request_id": self.request_id(),
            "key_id": self.caller.key_id or None,
        }

    def asks_for(self, request: object) -> None:
        """Record job_id and owner that a request names, and the trace if its method keeps it; nothing else is kept."""
        self.job_id = getattr(request, "job_id", "")[:MAX_ID_LENGTH]
        self.owner = getattr(getattr(request, "filter", request), "owner", "")[:MAX_ID_LENGTH]
        if self.handler.keeps_trace:
            traces.current.set(self._span.traceparent if self._span else traces.traceparent_of(self._metadata()))

    def _named(self) -> str:
        """Return the job_id of the request, or of the created job."""
        if self.job_id or self.reply is None:
            return self.job_id
        reply = self.handler.reply.FromString(self.reply) if isinstance(self.reply, bytes) else self.reply
        return getattr(getattr(reply, "job", None), "job_id", "")

    def _metadata(self) -> Iterable[tuple[str, Any]]:
        return self.context.invocation_metadata() or ()

    def request_id(self) -> str:
        """Return the caller's request id, or a new one."""
        given = {key: value for key, value in self._metadata() if key == REQUEST_ID}
        return str(given.get(REQUEST_ID, ""))[:MAX_ID_LENGTH] or uuid.uuid4().hex
