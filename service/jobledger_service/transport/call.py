"""One call from its first byte to its status: its caller, its end, its log line and its metrics."""

import logging
import random
import time
import uuid
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import structlog
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from .identity import PUBLIC_CALLER, Caller
from .methods import Context, Kind, Method
from .metrics import MethodMetrics
from .units import MICROS_PER_SECOND
from .usage import UsageCounts

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from .limits.in_flight import InFlight
    from .tracing import OpenSpan

log = structlog.get_logger(__name__)

KEEP_TRACE: Final = {"CreateJob"}
"""The methods that ask for the trace of the call."""
REQUEST_ID: Final = "x-request-id"
CALLER_LEFT: Final = "CANCELLED"
"""The code of a call whose caller left."""
MAX_ID_LENGTH: Final = 128
"""Characters of a job_id in the log, for there is no job with a longer one, and of the id that a caller gave a call."""


class MethodHandler:
    """A method as it is served: what it requires of callers and requests, who answers, and what counts its calls.

    `answer` returns what is awaited or iterated later. A plain function reads its request first, maybe on a thread, and
    keeps no reference to it. `calls` are the shares of owners in its calls in flight, None when these stay open. With
    `checks_writer` an owner is refused whose writes would be refused anyway. `max_bytes` is for one request. `owner_of`
    returns the owner that a request names.
    """

    __slots__ = (
        "answer", "calls", "checks_writer", "keeps_trace", "max_bytes", "method", "metrics", "names_job",
        "owner_of", "receiver", "reply", "request", "send_turns", "unsent",
    )  # fmt: skip

    def __init__(
        self,
        descriptor: MethodDescriptor,
        method: Method,
        answers: object,
        in_flight: "InFlight",
        metrics: MethodMetrics,
    ) -> None:
        needs_key = method.role is not None
        self.method = method
        self.metrics = metrics
        self.request: type[Message] = GetMessageClass(descriptor.input_type)
        self.reply: type[Message] = GetMessageClass(descriptor.output_type)
        self.answer: Callable[[Any, Caller], Any] = getattr(answers, method.name)
        self.receiver = in_flight.receiver_of(method, streams=descriptor.server_streaming)
        self.unsent = in_flight.unsent_of(method)
        self.send_turns = in_flight.send_turns
        self.max_bytes = in_flight.max_bytes_of(method)
        self.calls = in_flight.shares_of(method)
        self.checks_writer = needs_key and method.kind is Kind.WRITE and not method.reserved
        self.names_job = "job_id" in descriptor.input_type.fields_by_name
        self.owner_of = _owner_in(descriptor.input_type)
        self.keeps_trace = method.name in KEEP_TRACE


def _owner_in(request: Descriptor) -> Callable[[Any], str] | None:
    """Return the function to the owner that a request, or its filter, names; None for requests that name none."""
    within = request.fields_by_name.get("filter")
    of = request if within is None else within.message_type
    if of is None or "owner" not in of.fields_by_name:
        return None
    return attrgetter("owner" if within is None else "filter.owner")


class AccessLog:
    """Which successful calls are logged: all at level debug, else a share of them, 0 to 1, at level info."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._is_debug = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self.is_on = self._is_debug or rate > 0

    def level(self) -> int | None:
        """Return the log level of this call, None for no line."""
        if self._rate and random.random() < self._rate:  # noqa: S311  a sample, not a secret
            return logging.INFO
        return logging.DEBUG if self._is_debug else None


class Call:
    """One call while it runs. Until its outcome is known, its code is that of a caller who left.

    `owner` shares what is in flight: the caller's own, or the connection of a call without a key. `size` is how many
    bytes are counted for the call. Its requests are not kept here: the writer's queue holds the command that was
    made from them.
    """

    __slots__ = (
        "began", "caller", "code", "context", "handler", "is_counted", "is_running", "job_id", "named_owner", "owner",
        "reply", "size", "span", "usage",
    )  # fmt: skip

    def __init__(self, handler: MethodHandler, context: Context, usage: UsageCounts) -> None:
        self.began = time.perf_counter()
        self.handler = handler
        self.context = context
        self.usage = usage
        self.caller = PUBLIC_CALLER
        self.code = CALLER_LEFT
        self.owner = self.job_id = self.named_owner = ""
        self.is_running = self.is_counted = False
        self.size = 0
        self.reply: Any = None
        self.span: OpenSpan | None = None
        handler.metrics.began()

    def end(self, access: AccessLog) -> None:
        """Count the call, end its span and log it."""
        seconds = time.perf_counter() - self.began
        self.usage.calls += 1
        self.usage.micros += round(seconds * MICROS_PER_SECOND)
        if self.span is not None:
            self.span.end(self.code)
        self.handler.metrics.ended(self.code, seconds)
        if access.is_on and self.code in ("OK", CALLER_LEFT) and (level := access.level()) is not None:
            log.log(level, "served", code=self.code, seconds=round(seconds, 6), **self.log_fields())

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
            "owner": self.named_owner or None,
            "request_id": self.request_id(),
            "key_id": self.caller.key_id or None,
        }

    def _named(self) -> str:
        """Return the job_id of the request, or of the created job."""
        if self.job_id or self.reply is None:
            return self.job_id
        reply = self.handler.reply.FromString(self.reply) if isinstance(self.reply, bytes) else self.reply
        return getattr(getattr(reply, "job", None), "job_id", "")

    def request_id(self) -> str:
        """Return the caller's request id, or a new one."""
        metadata = {key: value for key, value in self.context.invocation_metadata() or () if key == REQUEST_ID}
        return str(metadata.get(REQUEST_ID, ""))[:MAX_ID_LENGTH] or uuid.uuid4().hex
