"""The life of one call: authenticate, admit, receive, read, run, answer; each refusal becomes a status.

`RpcServer._unary` and `RpcServer._stream` are read from top to bottom. What a call is, and how it is counted and
logged, is in call.py; the bounds of what is in flight are in limits/in_flight.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.sharing.shares import Shares

from . import trace_context as traces
from .call import MAX_ID_LENGTH, AccessLog, Call, MethodHandler
from .encoding.fields import decode
from .errors import Refused, internal_status, refused_by_transport
from .grpc_services import HealthService
from .identity import DEFAULT_CALLER, Caller
from .limits.in_flight import COPIES, UNREAD_BYTES, InFlight
from .limits.open_calls import OpenCalls, PublicStreams
from .limits.receiving import LARGE
from .limits.sending import SMALL
from .methods import Calls, Context, Kind, Method
from .metrics import CallMetrics
from .refusal_log import RefusalLog
from .refusals import (
    ApiKeyMissing,
    InFlightFull,
    MalformedRequest,
    MessageTooLarge,
    ReplyUnsent,
    RoleMissing,
    ServerDraining,
)
from .stream_writer import CallerLeftError, StreamWriter
from .usage import Usage, UsageCounts

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from .limits.rate_limiter import RateLimiter
    from .tracing import CallTracer

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs only

Authenticate = Callable[[str], Awaitable[Caller]]
"""Returns the caller of a token; raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable."""

MaxWatches = Callable[[str], Awaitable[int | None]]
"""Returns how many watches an owner may have open; None for any number."""

AUTHORIZATION: Final = "authorization"
QUIET_SECONDS: Final = 0.1
"""Seconds without a call after which a draining server closes: calls that were on their way have been answered."""
MAX_QUIET_CHECKS: Final = 20


class Source(Protocol):
    """What answers are read from; `losses` is how many times it was interrupted and began anew."""

    losses: int

    def check_unbroken(self, losses: int) -> None:
        """Raise the error for an answer that was begun with this many losses, if there are more now."""


class CallControls(MsgStruct, frozen=True):
    """What calls share: the calls in flight, the open calls, the rates of keys, usage and health."""

    in_flight: InFlight
    open_calls: OpenCalls
    rate_limiter: "RateLimiter | None"
    usage: Usage = field(default_factory=Usage)
    health: HealthService = field(default_factory=HealthService)


class RpcServer:
    """How the methods of all services are called.

    Without `authenticate` every caller is DEFAULT_CALLER. `refused_by_service` answers for what methods raise on
    purpose; `on_overload` is called with the bound of each call that is refused because too much waits.
    """

    def __init__(
        self,
        authenticate: Authenticate | None,
        max_watches: MaxWatches,
        controls: CallControls,
        refused_by_service: Callable[[Exception], Refused | None],
        source: Source,
        metrics: CallMetrics,
        access_log: AccessLog,
        tracer: "CallTracer | None",
        on_overload: Callable[[str], None],
    ) -> None:
        self._authenticate = authenticate
        self._max_watches = max_watches
        self._controls = controls
        self._in_flight = controls.in_flight
        self._refused_by_service = refused_by_service
        self._source = source
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer
        self._refusals = RefusalLog(on_overload)
        self._public_streams = PublicStreams()
        self._nobody = UsageCounts()
        self._is_draining = False
        self._running = self._arrivals = 0

    async def drain(self, seconds: float) -> None:
        """Refuse further calls as DRAINING until none runs and none has come for a moment, or `seconds` have passed."""
        self._is_draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._wait_until_quiet()
        except TimeoutError:
            log.warning("calls still run when the drain timeout ends", calls=self._running)
        self._refusals.close()

    async def _wait_until_quiet(self) -> None:
        """Wait until no call runs and none arrives for a moment; a caller who never stops is not waited for."""
        arrivals, quiet_checks = -1, 0
        while self._running or (arrivals != self._arrivals and quiet_checks < MAX_QUIET_CHECKS):
            quiet_checks += not self._running
            arrivals = self._arrivals
            await asyncio.sleep(QUIET_SECONDS)

    def handler(self, descriptor: ServiceDescriptor, calls: Iterable[Calls]) -> grpc.GenericRpcHandler:
        """Return the handler of a service; raises KeyError when `calls` lack one of its methods."""
        answers = {method.full_name: (method, entry.answers) for entry in calls for method in entry.methods}
        methods = {method.name: self._method(method, *answers[method.full_name]) for method in descriptor.methods}
        return grpc.method_handlers_generic_handler(descriptor.full_name, methods)

    def _method(self, descriptor: MethodDescriptor, method: Method, answers: object) -> Handler:
        """Return the handler of a method.

        To gRPC every call sends a stream, so that it is read when there is room for it, and not before.
        """
        streams = descriptor.server_streaming
        metrics = self._metrics.method(f"{method.service}/{method.name}", streams=streams)
        handler = MethodHandler(descriptor, method, answers, self._in_flight, metrics)
        if streams:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler))
        return grpc.stream_unary_rpc_method_handler(self._unary(handler))

    def _unary(self, handler: MethodHandler) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def behaviour(_: Any, context: Context) -> bytes:  # noqa: ANN401  a stream of bytes
            call = Call(handler, context, self._nobody)
            try:
                await self._admit(call)
                if handler.method.waits:
                    with await self._opened(call):
                        return await self._reply(call)
                return await self._reply(call)
            except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                await self._abort(call, error)
                raise AssertionError("abort raises") from None
            finally:
                self._end(call)

        return behaviour

    async def _reply(self, call: Call) -> bytes:
        """Receive a request and return the reply; a call that is being refused keeps neither."""
        handler = call.handler
        if handler.method.sends_many:
            answer = handler.answer(self._receive_each(call), call.caller)
        else:
            answer = await self._receive(call, _answer)
        losses = self._source.losses
        call.reply = await answer
        if handler.method.kind is Kind.READ:
            self._source.check_unbroken(losses)
        reply: bytes = call.reply if isinstance(call.reply, bytes) else call.reply.SerializeToString()
        if len(reply) > SMALL:
            self._count_until_sent(call, COPIES * len(reply))
        call.usage.sent += len(reply)
        call.code = "OK"
        return reply

    def _stream(self, handler: MethodHandler) -> Callable[[Any, Context], Awaitable[None]]:
        async def behaviour(_: Any, context: Context) -> None:  # noqa: ANN401  a stream of bytes
            call = Call(handler, context, self._nobody)
            try:
                await self._admit(call)
                with await self._opened(call):
                    await self._write_each(call)
                call.code = "OK"
            except CallerLeftError:
                return
            except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                await self._abort(call, error)
            finally:
                self._end(call)

        return behaviour

    async def _write_each(self, call: Call) -> None:
        """Receive a request and write the replies; a call that is being refused keeps neither."""
        handler = call.handler
        if handler.method.sends_many:
            answer = handler.answer(self._receive_each(call), call.caller)
        else:
            answer = await self._receive(call, _answer)
        self._release(call)  # nothing of a stream of replies is in flight when its request is read
        with closing(StreamWriter(call)) as writer:
            async with aclosing(answer) as messages:
                async for message in messages:
                    await (message(writer) if callable(message) else writer.send(message))

    async def _admit(self, call: Call) -> None:
        """Authenticate the caller; check its role, its rate and its share of the calls in flight.

        The request is read after that. A call without a key belongs to its connection. Raises ServerDraining,
        ApiKeyMissing, ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable, RoleMissing, RateLimited,
        InFlightFull, and QueueFull when the owner's writes would be refused anyway.
        """
        handler, method = call.handler, call.handler.method
        if method.role is None:
            call.owner = call.context.peer()
        else:
            if self._tracer is not None:
                metadata = call.context.invocation_metadata() or ()
                call.span = self._tracer.begin(method.service, method.name, metadata)
            self._arrivals += 1
            if self._is_draining:
                raise ServerDraining
            self._running += 1
            call.is_running = True
            caller = DEFAULT_CALLER
            if self._authenticate is not None:
                caller = await self._authenticate(_token_of(call.context))
            call.caller, call.owner = caller, caller.owner
            call.usage = self._controls.usage.counts_for(caller, method.full_name)
            if not caller.may(method.role):
                raise RoleMissing(method.name, method.role)
            if self._controls.rate_limiter is not None:
                await self._controls.rate_limiter.acquire(caller, method.kind)
            if handler.checks_writer:
                self._in_flight.check_writer(call.owner)
        if handler.calls is not None:
            if not handler.calls.try_add(call.owner, 1, reserved=method.reserved):
                raise InFlightFull("public_calls" if method.role is None else "calls")
            call.is_counted = True

    async def _opened(self, call: Call) -> AbstractContextManager[None]:
        """Hold a call that stays open: it ends with its caller's key; raises TooManyWatches, TooManyClaims.

        Also raises the refusal of one that is too many of its owner.
        """
        method, open_calls = call.handler.method, self._controls.open_calls
        if method.role is None:
            return self._public_streams.hold(call.owner)
        if method.kind is Kind.WRITE and not method.sends_many:
            return open_calls.claim(call.caller)
        return open_calls.stream(call.caller, await self._max_watches(call.owner))

    async def _receive_each(self, call: Call) -> AsyncIterator[Any]:
        """Yield the requests of a stream; two are counted: one is written, one is read. Raises as `_receive` does."""
        older, before = 0, call.size
        while (request := await self._receive(call, _read)) is not None:
            newer = call.size - before
            yield request
            call.size -= older
            self._in_flight.bytes.remove(call.owner, older)
            older, before = newer, call.size

    async def _receive(self, call: Call, read: Callable[[Call, bytes], Any]) -> Any:  # noqa: ANN401  what `read` returns
        """Return the result of `read` on the next request, in one of the few places; None at the end of a stream.

        It may be in memory several times until it is read. Raises MalformedRequest; InFlightFull when its bytes are too
        many, or the owner's requests wait too long; MessageTooLarge; RequestTimedOut; and what `begin_call` and
        `read` raise.
        """
        handler, in_flight, owner = call.handler, self._in_flight, call.owner
        method, receiver = handler.method, handler.receiver
        place = receiver.take_free(owner, reserved=method.reserved) or await self._take_later(call)
        try:
            raw = await receiver.receive(call.context)
            if raw is grpc.aio.EOF:
                if method.sends_many:
                    return None
                raise MalformedRequest("is missing")
            size = len(raw)
            call.usage.received += size
            if size > handler.max_bytes:
                raise MessageTooLarge(call.caller.key_id, size, handler.max_bytes)
            if method.role is not None:
                in_flight.begin_call(owner, size, call.context.time_remaining())
                self._hold(call, COPIES * size if method.sends_many else size)
            if size < LARGE:
                return read(call, raw)
            return await in_flight.large_requests.read(owner, partial(read, call), raw, reserved=method.reserved)
        finally:
            receiver.release(owner, place)

    async def _take_later(self, call: Call) -> Shares:
        """Wait for a place. What its sender may have sent is counted; of streams the number is bounded already."""
        receiver = call.handler.receiver
        unread = UNREAD_BYTES if receiver is self._in_flight.receiver else 0
        self._hold(call, unread)
        try:
            return await receiver.take(call.owner, reserved=call.handler.method.reserved)
        finally:
            call.size -= unread
            self._in_flight.bytes.remove(call.owner, unread)

    def _hold(self, call: Call, size: int) -> None:
        """Count bytes of a call; raises InFlightFull."""
        if not self._in_flight.bytes.try_add(call.owner, size, reserved=call.handler.method.reserved):
            raise InFlightFull("bytes")
        call.size += size

    def _count_until_sent(self, call: Call, size: int) -> None:
        """Count a reply while its task lasts, which is until gRPC has sent it; raises InFlightFull, ReplyUnsent."""
        owner, method, unsent, task = call.owner, call.handler.method, call.handler.unsent, asyncio.current_task()
        if not unsent.try_add(owner, size, reserved=method.reserved):
            raise InFlightFull("unsent") if method.kind is Kind.READ else ReplyUnsent
        assert task is not None  # noqa: S101  a handler is always within one
        task.add_done_callback(lambda _: unsent.remove(owner, size))

    def _release(self, call: Call) -> None:
        """Release what a call holds of its owner's shares."""
        if call.is_counted and call.handler.calls is not None:
            call.handler.calls.remove(call.owner, 1)
            call.is_counted = False
        if call.size:
            self._in_flight.bytes.remove(call.owner, call.size)
            call.size = 0

    def _end(self, call: Call) -> None:
        self._release(call)
        self._running -= call.is_running
        call.end(self._access_log)

    async def _abort(self, call: Call, error: Exception) -> None:
        """End a call with the status of a refusal; any other error is a defect: INTERNAL, and the log has the rest."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        self._release(call)
        call.usage.errors += 1
        refused = self._refused_by_service(error) or refused_by_transport(error)
        if refused is None:
            fields = call.log_fields()
            log.error("failed", **fields, exc_info=error)
            refused = Refused(internal_status(str(fields["request_id"])))
        call.code = refused.status.code.name
        if refused.reason:
            self._refusals.add(call, refused)
        call.drop_references(error)
        await call.context.abort_with_status(refused.status)


def _token_of(context: Context) -> str:
    """Return the token that a call carries; raises ApiKeyMissing."""
    metadata = context.invocation_metadata() or ()
    authorization = next((str(value) for name, value in metadata if name == AUTHORIZATION), "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise ApiKeyMissing
    return token.strip()


def _answer(call: Call, raw: bytes) -> Any:  # noqa: ANN401  what is awaited, or iterated
    """Return the answer to a request, which waits to begin; runs on a thread when the request is large."""
    return call.handler.answer(_read(call, raw), call.caller)


def _read(call: Call, raw: bytes) -> Any:  # noqa: ANN401  any message
    """Decode a request; runs on a thread when the request is large. Raises MalformedRequest.

    The job_id and the owner that it names are recorded, and the trace if its method keeps it; nothing else is kept.
    """
    handler = call.handler
    try:
        request: Any = decode(handler.request, raw)
    except DecodeError:
        raise MalformedRequest(f"must be an encoded {handler.request.DESCRIPTOR.full_name}") from None
    if handler.names_job:
        call.job_id = request.job_id[:MAX_ID_LENGTH]
    if handler.owner_of is not None:
        call.named_owner = handler.owner_of(request)[:MAX_ID_LENGTH]
    if handler.keeps_trace:
        traceparent = (
            call.span.traceparent if call.span else traces.traceparent_of(call.context.invocation_metadata() or ())
        )
        traces.current.set(traceparent)
    return request
