"""Puts a service behind gRPC: reads and writes messages, names the caller, turns refusals into statuses, logs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from .authenticator import Authenticator
from .call import AccessLog, Call, Context, MethodHandler
from .errors import Refused, internal_status, refused_by_transport
from .health_service import HealthService
from .identity import PUBLIC_CALLER, Caller
from .in_flight import CallInFlight, InFlight
from .methods import Calls, Kind, Method
from .metrics import CallMetrics
from .open_calls import OpenCalls
from .overload_log import OverloadLog
from .public_requests import PublicRequests
from .public_streams import PublicStreams
from .refusals import MalformedRequest, ServerDraining
from .unauthenticated_log import AnonymousRefusalLog
from .usage import Usage

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from .rate_limiter import RateLimiter
    from .tracing import CallTracer

    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its stubs only
else:
    Handler = grpc.RpcMethodHandler
Read = Callable[[bytes], Any]
Make = Callable[[Any, Caller], Any]
"""Makes of a request what its method takes, so that the request goes; called on a thread when the request is large."""
Request = Callable[[Call, Caller, CallInFlight], Awaitable[Any]]
Answer = Callable[[Any, Caller], Awaitable[Message | bytes]]
"""Receives what a call asks for."""
R = TypeVar("R")

KEEP_TRACE: Final = {"CreateJob"}
"""The methods that ask for the trace of the call."""
QUIET_SECONDS: Final = 0.1
"""Seconds without a call after which a draining server closes: calls that were on their way have been answered."""
MAX_QUIET_CHECKS: Final = 20


def _read(form: type[Message], raw: bytes) -> Message:
    try:
        return form.FromString(raw)
    except DecodeError:
        raise MalformedRequest(f"must be an encoded {form.DESCRIPTOR.full_name}") from None


async def _send(context: Context, message: bytes) -> None:
    try:
        await context.write(message)
    except Exception as error:  # gRPC's own kind is private; a message that is bytes already fails for no other reason
        raise CallerLeftError from error


def _encoded(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


class CallerLeftError(Exception):
    """There is nobody to write to any more."""


class _Calls:
    """Counts the calls that run, and refuses them once closed."""

    def __init__(self) -> None:
        self.closed = False
        self.running = 0
        self._arrivals = 0

    def __enter__(self) -> None:
        self._arrivals += 1
        if self.closed:
            raise ServerDraining
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1

    async def wait_until_quiet(self) -> None:
        """Wait until no call runs, and then until none has come for a moment, but not for one who never lets off."""
        arrivals, quiet_checks = -1, 0
        while self.running or (arrivals != self._arrivals and quiet_checks < MAX_QUIET_CHECKS):
            quiet_checks += not self.running
            arrivals = self._arrivals
            await asyncio.sleep(QUIET_SECONDS)


@dataclass(frozen=True, slots=True)
class CallControls:
    """What calls share: how many are in flight, which are open, how often keys may call, what is counted; health."""

    in_flight: InFlight
    open_calls: OpenCalls
    rate_limiter: "RateLimiter | None"
    usage: Usage = field(default_factory=Usage)
    health: HealthService = field(default_factory=HealthService)


class RpcServer:
    """How the methods of all services are called. `refused_by_service` answers for what they raise on purpose."""

    def __init__(
        self,
        authenticator: Authenticator,
        controls: CallControls,
        refused_by_service: Callable[[Exception], Refused | None],
        metrics: CallMetrics,
        log_of_calls: AccessLog,
        tracer: "CallTracer | None" = None,
        *,
        refused: Callable[[str], None],
    ) -> None:
        self._authenticator = authenticator
        self._in_flight = controls.in_flight
        self._open_calls = controls.open_calls
        self._usage = controls.usage
        self._refused_by_service = refused_by_service
        self._metrics = metrics
        self._log_of_calls = log_of_calls
        self._tracer = tracer
        self._overload_log = OverloadLog(refused)
        self._calls = _Calls()
        self._anonymous_refusals = AnonymousRefusalLog()
        self._public_streams = PublicStreams()

    async def drain(self, seconds: float) -> None:
        """Refuse further calls as DRAINING until none runs and none has come for a moment, or `seconds` have passed."""
        self._calls.closed = True
        try:
            async with asyncio.timeout(seconds):
                await self._calls.wait_until_quiet()
        except TimeoutError:
            log.warning("calls still run when the drain timeout ends", calls=self._calls.running)
        self._anonymous_refusals.close()

    def handler(self, descriptor: ServiceDescriptor, calls: Iterable[Calls]) -> grpc.GenericRpcHandler:
        """Return the handler of a service; raises KeyError when `calls` lack one of its methods.

        A unary method X takes what `read_X` of the object that answers makes of the request, where there is one.
        """
        given = {method.full_name: (method, one.answers) for one in calls for method in one.methods}
        methods = {method.name: self._method(method, *given[method.full_name]) for method in descriptor.methods}
        return grpc.method_handlers_generic_handler(descriptor.full_name, methods)

    def _method(self, descriptor: MethodDescriptor, rpc_method: Method, answers: object) -> Handler:
        answer: Callable[..., Any] = getattr(answers, descriptor.name)
        make: Make | None = getattr(answers, f"read_{descriptor.name}", None)
        read, streams = partial(_read, GetMessageClass(descriptor.input_type)), descriptor.server_streaming
        metrics = self._metrics.method(f"{rpc_method.service}/{rpc_method.name}", streams=streams)
        handler = MethodHandler(rpc_method, metrics, keeps_trace=rpc_method.name in KEEP_TRACE)
        if rpc_method.role is None:
            return self._public_method(handler, read, answer, descriptor)
        if streams:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler, partial(self._read_sent, read), answer))
        request = (
            partial(self._receive_stream, read) if descriptor.client_streaming else partial(self._receive, read, make)
        )
        # To gRPC a stream of one request, so that it is read when there is room for it, and not before.
        answer_caller = partial(self._answer, request, self._held(rpc_method, answer))
        return grpc.stream_unary_rpc_method_handler(self._unary(handler, answer_caller))

    def _public_method(
        self, handler: MethodHandler, read: Read, answer: Callable[..., Any], descriptor: MethodDescriptor
    ) -> Handler:
        """Return the handler of a method that needs no key. To gRPC each request is a stream, as with other methods."""
        requests = PublicRequests(self._in_flight.public_calls)
        if not descriptor.server_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(handler, partial(self._answer_public, requests, read, answer))
            )
        request = partial(self._read_each_public if descriptor.client_streaming else self._read_public, requests, read)
        return grpc.stream_stream_rpc_method_handler(self._stream(handler, request, answer))

    def _held(
        self, method: Method, call: Callable[[Any, Caller], Awaitable[R]]
    ) -> Callable[[Any, Caller], Awaitable[R]]:
        """Return a call as one that ends with its caller's key, when it is one that waits; a watch counts as one."""
        if not method.waits:
            return call
        hold = self._open_calls.watch if method.kind is Kind.WATCH else self._open_calls.hold

        async def held(request: Any, caller: Caller) -> R:  # noqa: ANN401  any message
            with hold(caller):
                return await call(request, caller)

        return held

    def _unary(
        self, handler: MethodHandler, answer: Callable[[Call, Any], Awaitable[bytes]]
    ) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def behaviour(sent: Any, context: Context) -> bytes:  # noqa: ANN401  bytes, or a stream of bytes
            with self._call(handler, context) as call:
                try:
                    with self._running(handler.method):
                        reply = await answer(call, sent)
                except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                    await self._abort(call, error)
                    raise AssertionError("abort raises") from None
                call.usage.sent += len(reply)
                call.code = "OK"
                return reply

        return behaviour

    async def _answer(self, request: Request, answer: Answer, call: Call, _: AsyncIterator[bytes]) -> bytes:
        """Return the reply to a caller with a key, whose request is read when there is room for it."""
        caller = await self._admit(call)
        with self._in_flight.begin(caller.owner, call.handler.method) as in_flight_call:
            call.reply = await answer(await request(call, caller, in_flight_call), caller)
            return _encoded(call.reply)

    async def _answer_public(
        self, requests: PublicRequests, read: Read, answer: Answer, call: Call, _: AsyncIterator[bytes]
    ) -> bytes:
        """Return the reply to a small request that needs no key: health is reported whatever else waits."""
        caller = await self._admit(call)
        with requests.hold(call.context.peer()):
            call.reply = await answer(await self._read_public(requests, read, call, caller), caller)
            return _encoded(call.reply)

    async def _read_public(
        self,
        requests: PublicRequests,
        read: Read,
        call: Call,
        caller: Caller,
        _: Any = None,  # noqa: ANN401  as gRPC passes it
    ) -> Any:  # noqa: ANN401  any message
        return self._read(read, await requests.receive(call.context), call, caller)

    async def _read_each_public(
        self,
        requests: PublicRequests,
        read: Read,
        call: Call,
        caller: Caller,
        _: Any,  # noqa: ANN401  as gRPC passes it
    ) -> AsyncIterator[Any]:
        return (self._read(read, raw, call, caller) async for raw in requests.receive_each(call.context))

    async def _read_sent(self, read: Read, call: Call, caller: Caller, raw: bytes) -> Any:  # noqa: ANN401  any message
        return self._read(read, raw, call, caller)

    async def _receive(
        self, read: Read, make: Make | None, call: Call, caller: Caller, in_flight_call: CallInFlight
    ) -> Any:  # noqa: ANN401  as declared
        def read_all(raw: bytes) -> Any:  # noqa: ANN401  as declared
            request = read(raw)
            call.asks_for(request)
            return request if make is None else make(request, caller)

        return await in_flight_call.receive(call.context, partial(self._check_size, call, caller), read_all)

    async def _receive_stream(
        self, read: Read, call: Call, caller: Caller, in_flight_call: CallInFlight
    ) -> AsyncIterator[Any]:
        return (self._read(read, raw, call, caller) async for raw in in_flight_call.receive_each(call.context))

    def _read(self, read: Read, raw: bytes, call: Call, caller: Caller) -> Any:  # noqa: ANN401  any message
        self._check_size(call, caller, len(raw))
        request = read(raw)
        call.asks_for(request)
        return request

    def _check_size(self, call: Call, caller: Caller, size: int) -> None:
        call.usage.received += size
        self._authenticator.check_size(caller, size)

    def _stream(
        self,
        handler: MethodHandler,
        read: Callable[[Call, Caller, Any], Awaitable[Any]],
        answer: Callable[[Any, Caller], AsyncGenerator[bytes]],
    ) -> Callable[[Any, Context], Awaitable[None]]:
        async def behaviour(raw: Any, context: Context) -> None:  # noqa: ANN401  bytes, or a stream of bytes
            with self._call(handler, context) as call:
                try:
                    with self._running(handler.method):
                        caller = await self._admit(call)
                        with self._watch(call, caller):
                            request = await read(call, caller, raw)
                            async with aclosing(answer(request, caller)) as messages:
                                async for message in messages:
                                    await _send(context, message)
                                    call.usage.sent += len(message)
                                    handler.metrics.sent()
                except CallerLeftError:
                    return
                except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                    await self._abort(call, error)
                call.code = "OK"

        return behaviour

    def _call(self, handler: MethodHandler, context: Context) -> Call:
        tracer = None if handler.method.role is None else self._tracer  # nobody wants a trace of each probe
        return Call(handler, context, self._log_of_calls, tracer)

    def _running(self, method: Method) -> AbstractContextManager[None]:
        """Count a call that is to end before the server does, and refuse it when the server drains."""
        return nullcontext() if method.role is None else self._calls

    @contextmanager
    def _watch(self, call: Call, caller: Caller) -> Iterator[None]:
        """Hold a stream: of its key, or one of those that everybody may open; raises TooManyWatches."""
        if call.handler.method.role is not None:
            with self._open_calls.watch(caller):
                yield
            return
        with self._public_streams.hold(call.context.peer()):
            yield

    async def _admit(self, call: Call) -> Caller:
        """Return who makes the call, which is noted in it, when they may make it."""
        rpc_method = call.handler.method
        caller = await self._authenticator.authenticate(call.context, rpc_method)
        if caller is not PUBLIC_CALLER:
            call.caller = caller
            call.usage = self._usage.counts_for(caller, rpc_method.full_name)
        await self._authenticator.admit(caller, rpc_method)
        return caller

    async def _abort(self, call: Call, error: Exception) -> None:
        """End a call with the status of a refusal; any other error is a defect: INTERNAL, and the log has the rest."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        call.usage.errors += 1
        refused = self._refused_by_service(error) or refused_by_transport(error)
        if refused is None:
            fields = call.log_fields()
            log.error("failed", **fields, exc_info=error)
            refused = Refused(internal_status(str(fields["request_id"])))
        call.code = refused.status.code.name
        if refused.reason:
            self._record(call, refused)
        call.drop_references(error)
        await call.context.abort_with_status(refused.status)

    def _record(self, call: Call, refused: Refused) -> None:
        if refused.bound:
            self._overload_log.record(call.caller.owner if call.caller else "", refused.bound)
        elif call.caller is None:
            self._anonymous_refusals.add(call.handler.method.full_name, call.code, refused.reason)
        else:
            log.info("refused", code=call.code, why=refused.status.details, **call.log_fields())
