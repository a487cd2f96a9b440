"""The life of one call: authenticate, admit, receive, read, run, answer; each refusal becomes a status.

`RpcServer._unary` and `RpcServer._stream` are read from top to bottom. What a call is counted by, logged and traced is
in call.py; where its request is received, and what of it is held, in in_flight.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct as MsgStruct
from msgspec import field

from .call import AccessLog, Call, Context, MethodHandler
from .encoded_fields import decode
from .errors import Refused, internal_status, refused_by_transport
from .health_service import HealthService
from .identity import DEFAULT_CALLER, Caller
from .in_flight import CallInFlight, InFlight
from .methods import Calls, Kind, Method
from .metrics import CallMetrics
from .open_calls import OpenCalls
from .public_calls import MAX_BYTES, PublicRequests, PublicStreams
from .receiving import LARGE
from .refusal_log import RefusalLog
from .refusals import ApiKeyMissing, MalformedRequest, RoleMissing, ServerDraining
from .stream_writer import CallerLeftError, StreamWriter
from .usage import Usage

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from .rate_limiter import RateLimiter
    from .tracing import CallTracer

    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its stubs only
else:
    Handler = grpc.RpcMethodHandler

Authenticate = Callable[[str], Awaitable[Caller]]
"""Returns the caller of a token; raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable."""

MaxWatches = Callable[[str], Awaitable[int | None]]
"""Returns how many watches an owner may have open; None for any number."""

AUTHORIZATION: Final = "authorization"
KEEP_TRACE: Final = {"CreateJob"}
"""The methods that ask for the trace of the call."""
QUIET_SECONDS: Final = 0.1
"""Seconds without a call after which a draining server closes: calls that were on their way have been answered."""
MAX_QUIET_CHECKS: Final = 20


class _RunningCalls:
    """Counts the calls that run, and refuses them once closed."""

    def __init__(self) -> None:
        self.closed = False
        self.count = 0
        self._arrivals = 0

    def __enter__(self) -> None:
        self._arrivals += 1
        if self.closed:
            raise ServerDraining
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1

    async def wait_until_quiet(self) -> None:
        """Wait until no call runs, and then until none has come for a moment, but not for one who never lets off."""
        arrivals, quiet_checks = -1, 0
        while self.count or (arrivals != self._arrivals and quiet_checks < MAX_QUIET_CHECKS):
            quiet_checks += not self.count
            arrivals = self._arrivals
            await asyncio.sleep(QUIET_SECONDS)


class CallControls(MsgStruct, frozen=True):
    """What calls share: how many are in flight, which are open, how often keys may call, what is counted; health."""

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
        metrics: CallMetrics,
        access_log: AccessLog,
        tracer: "CallTracer | None",
        on_overload: Callable[[str], None],
    ) -> None:
        self._authenticate = authenticate
        self._max_watches = max_watches
        self._controls = controls
        self._refused_by_service = refused_by_service
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer
        self._refusals = RefusalLog(on_overload)
        self._running = _RunningCalls()
        self._public_streams = PublicStreams()

    async def drain(self, seconds: float) -> None:
        """Refuse further calls as DRAINING until none runs and none has come for a moment, or `seconds` have passed."""
        self._running.closed = True
        try:
            async with asyncio.timeout(seconds):
                await self._running.wait_until_quiet()
        except TimeoutError:
            log.warning("calls still run when the drain timeout ends", calls=self._running.count)
        self._refusals.close()

    def handler(self, descriptor: ServiceDescriptor, calls: Iterable[Calls]) -> grpc.GenericRpcHandler:
        """Return the handler of a service; raises KeyError when `calls` lack one of its methods.

        A unary method X takes what `read_X` of the object that answers makes of the request, where there is one.
        """
        given = {method.full_name: (method, one.answers) for one in calls for method in one.methods}
        methods = {method.name: self._method(method, *given[method.full_name]) for method in descriptor.methods}
        return grpc.method_handlers_generic_handler(descriptor.full_name, methods)

    def _method(self, descriptor: MethodDescriptor, method: Method, answers: object) -> Handler:
        """Return the handler of a method.

        To gRPC every call sends a stream, so that it is read when there is room for it, and not before.
        """
        limit, streams = self._controls.in_flight.message_limit, descriptor.server_streaming
        handler = MethodHandler(
            method,
            self._metrics.method(f"{method.service}/{method.name}", streams=streams),
            GetMessageClass(descriptor.input_type),
            GetMessageClass(descriptor.output_type),
            getattr(answers, f"read_{descriptor.name}", None),
            getattr(answers, descriptor.name),
            limit if method.role is not None else min(MAX_BYTES, limit),
            keeps_trace=method.name in KEEP_TRACE,
        )
        if method.role is not None:
            if streams:
                return grpc.stream_stream_rpc_method_handler(self._stream(handler, self._receive_stream))
            answer = self._answer_stream if descriptor.client_streaming else self._answer
            return grpc.stream_unary_rpc_method_handler(self._unary(handler, answer))
        requests = PublicRequests(self._controls.in_flight.public_calls)
        if not streams:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler, partial(self._answer_public, requests)))
        read = self._read_each_public if descriptor.client_streaming else self._read_public
        return grpc.stream_stream_rpc_method_handler(self._stream(handler, partial(read, requests)))

    def _unary(
        self, handler: MethodHandler, answer: Callable[[Call], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def behaviour(_: Any, context: Context) -> bytes:  # noqa: ANN401  a stream of bytes
            with self._begin(handler, context) as call:
                try:
                    with self._until_drained(handler.method):
                        await self._admit(call)
                        call.reply = await answer(call)
                        reply = call.reply if isinstance(call.reply, bytes) else call.reply.SerializeToString()
                except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                    await self._abort(call, error)
                    raise AssertionError("abort raises") from None
                call.usage.sent += len(reply)
                call.code = "OK"
                return reply

        return behaviour

    async def _answer(self, call: Call) -> Any:  # noqa: ANN401  a message, or bytes
        """Answer a request, which is received and read when there is room for it."""
        with CallInFlight(self._controls.in_flight, call) as in_flight, await self._held(call):
            return await call.handler.answer(await self._receive(call, in_flight), call.caller)

    async def _receive(self, call: Call, in_flight: CallInFlight) -> Any:  # noqa: ANN401  any message
        request = await self._read_in_turn(call, in_flight, await in_flight.receive())
        in_flight.leave_place()
        return request

    async def _read_in_turn(self, call: Call, in_flight: CallInFlight, raw: bytes) -> Any:  # noqa: ANN401  any message
        return await in_flight.read_on_thread(partial(_read, call), raw) if len(raw) >= LARGE else _read(call, raw)

    async def _answer_stream(self, call: Call) -> Any:  # noqa: ANN401  a message, or bytes
        """Answer a stream of requests, which are received as they are asked for."""
        with CallInFlight(self._controls.in_flight, call) as in_flight, await self._held(call):
            requests = in_flight.receive_each()
            read = self._read_in_turn
            return await call.handler.answer((await read(call, in_flight, raw) async for raw in requests), call.caller)

    async def _answer_public(self, requests: PublicRequests, call: Call) -> Any:  # noqa: ANN401  a message, or bytes
        """Answer a small request that needs no key: health is reported whatever else waits."""
        with requests.hold(call.context.peer()):
            return await call.handler.answer(_read(call, await requests.receive(call)), call.caller)

    def _stream(
        self, handler: MethodHandler, read: Callable[[Call], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[None]]:
        async def behaviour(_: Any, context: Context) -> None:  # noqa: ANN401  a stream of bytes
            with self._begin(handler, context) as call:
                try:
                    with self._until_drained(handler.method):
                        await self._admit(call)
                        with await self._held(call):
                            request, writer = await read(call), StreamWriter(call)
                            async with aclosing(handler.answer(request, call.caller)) as messages:
                                async for message in messages:
                                    await (writer.send(message) if isinstance(message, bytes) else message(writer))
                except CallerLeftError:
                    return
                except Exception as error:  # noqa: BLE001  whatever it is, the caller gets a status
                    await self._abort(call, error)
                call.code = "OK"

        return behaviour

    async def _receive_stream(self, call: Call) -> Any:  # noqa: ANN401  any message
        """Return the request of a stream of replies, of which nothing is in flight when it is read."""
        with CallInFlight(self._controls.in_flight, call, streams=True) as in_flight:
            return await self._receive(call, in_flight)

    async def _read_public(self, requests: PublicRequests, call: Call) -> Any:  # noqa: ANN401  any message
        return _read(call, await requests.receive(call))

    async def _read_each_public(self, requests: PublicRequests, call: Call) -> AsyncIterator[Any]:
        return (_read(call, raw) async for raw in requests.receive_each(call))

    def _begin(self, handler: MethodHandler, context: Context) -> Call:
        tracer = None if handler.method.role is None else self._tracer  # nobody wants a trace of each probe
        return Call(handler, context, self._access_log, tracer)

    def _until_drained(self, method: Method) -> AbstractContextManager[None]:
        """Count a call that is to end before the server does, and refuse it when the server drains."""
        return nullcontext() if method.role is None else self._running

    async def _admit(self, call: Call) -> None:
        """Find out who calls, which is noted in the call, and check that they may: their key, role and rate.

        Raises ApiKeyMissing, ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable, RoleMissing, RateLimited.
        """
        method, limiter = call.handler.method, self._controls.rate_limiter
        if method.role is None:
            return
        known = DEFAULT_CALLER
        if self._authenticate is not None:
            known = await self._authenticate(_token_of(call.context))
        call.caller = known
        call.usage = self._controls.usage.counts_for(known, method.full_name)
        if not known.may(method.role):
            raise RoleMissing(method.name, method.role)
        if limiter is not None:
            await limiter.acquire(known, method.kind)

    async def _held(self, call: Call) -> AbstractContextManager[None]:
        """Hold a call that stays open: it ends with its caller's key; raises TooManyWatches, TooManyClaims.

        Also raises the refusal of one that is too many of its owner.
        """
        method = call.handler.method
        if method.role is None:
            return self._public_streams.hold(call.context.peer())
        if not method.waits:
            return nullcontext()
        open_calls = self._controls.open_calls
        if method.kind is Kind.WRITE and not method.sends_many:
            return open_calls.claim(call.caller)
        return open_calls.stream(call.caller, await self._max_watches(call.caller.owner))

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


def _read(call: Call, raw: bytes) -> Any:  # noqa: ANN401  any message, or what its method makes of it
    """Return what a request asks for; runs on a thread when the request is large. Raises MalformedRequest."""
    handler = call.handler
    try:
        request = decode(handler.request, raw)
    except DecodeError:
        raise MalformedRequest(f"must be an encoded {handler.request.DESCRIPTOR.full_name}") from None
    call.asks_for(request)
    return request if handler.make is None else handler.make(request, call.caller)
