"""Puts a service behind gRPC: reads and writes messages, names the caller, turns refusals into statuses, logs."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from jobledger_service.domain.errors import Draining, InvalidField, Refusal
from jobledger_service.domain.limits import SECOND
from jobledger_service.ledger.usage import Tally, Usage

from .door import Context, Door
from .errors import internal_status, status_of
from .identity import Caller
from .methods import METHODS, Method
from .open_calls import OpenCalls

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its stubs only
else:
    Handler = grpc.RpcMethodHandler
Read = Callable[[bytes], Any]
R = TypeVar("R")

REQUEST_ID: Final = "x-request-id"
MOMENT: Final = 0.1
"""Seconds without a call after which a draining server closes: calls that were on their way have been answered."""
MOST_MOMENTS: Final = 20


def _read(form: type[Message], raw: bytes) -> Message:
    try:
        return form.FromString(raw)
    except DecodeError:
        raise InvalidField(("request", f"is not an encoded {form.DESCRIPTOR.full_name}")) from None


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
        self._came = 0

    def __enter__(self) -> None:
        self._came += 1
        if self.closed:
            raise Draining
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1

    async def quiet(self) -> None:
        """Wait until no call runs, and then until none has come for a moment, but not for one who never lets off."""
        came, moments = -1, 0
        while self.running or (came != self._came and moments < MOST_MOMENTS):
            moments += not self.running
            came = self._came
            await asyncio.sleep(MOMENT)


class Serving:
    """How the methods of all services are called."""

    def __init__(self, door: Door, open_calls: OpenCalls, usage: Usage, cursor: Callable[[int], bytes]) -> None:
        self._door = door
        self._open_calls = open_calls
        self._usage = usage
        self._cursor = cursor
        self._calls = _Calls()
        self._tells_all = logging.getLogger().isEnabledFor(logging.DEBUG)

    async def drain(self, seconds: float) -> None:
        """Refuse further calls as DRAINING until none runs and none has come for a moment, or `seconds` have passed."""
        self._calls.closed = True
        try:
            async with asyncio.timeout(seconds):
                await self._calls.quiet()
        except TimeoutError:
            log.warning("calls still run when the drain timeout ends", calls=self._calls.running)

    def handler(self, descriptor: ServiceDescriptor, service: object) -> grpc.GenericRpcHandler:
        """Return the handler of a service whose methods have the names of the descriptor."""
        methods = {method.name: self._method(method, getattr(service, method.name)) for method in descriptor.methods}
        return grpc.method_handlers_generic_handler(descriptor.full_name, methods)

    def _method(self, method: MethodDescriptor, call: Callable[..., Any]) -> Handler:
        read = partial(_read, GetMessageClass(method.input_type))
        asked = METHODS[method.full_name]
        form, behaviour = (
            (grpc.unary_stream_rpc_method_handler, self._stream(asked, read, call))
            if method.server_streaming
            else (grpc.unary_unary_rpc_method_handler, self._unary(asked, read, self._held(asked, call)))
        )
        return form(behaviour)

    def _held(
        self, method: Method, call: Callable[[Any, Caller], Awaitable[R]]
    ) -> Callable[[Any, Caller], Awaitable[R]]:
        """Return a call as one that ends with its caller's key, when it is one that waits."""
        if not method.waits:
            return call

        async def held(request: Any, caller: Caller) -> R:  # noqa: ANN401  any message
            with self._open_calls.hold(caller):
                return await call(request, caller)

        return held

    def _unary(
        self, method: Method, read: Read, call: Callable[[Any, Caller], Awaitable[Message | bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def behaviour(raw: bytes, context: Context) -> bytes:
            told = _Told(method.name)
            try:
                with self._calls:
                    request, caller = await self._admit(told, method, read, raw, context)
                    reply = _encoded(await call(request, caller))
                    told.tally.sent += len(reply)
            except Refusal as refusal:
                await self._refuse(told, context, refusal)
                raise AssertionError("abort raises") from refusal
            except Exception as error:
                await self._fail(told, context, error)
                raise AssertionError("abort raises") from error
            finally:
                told.end()
            if self._tells_all:
                log.debug("served", **told.words(context))
            return reply

        return behaviour

    def _stream(
        self, method: Method, read: Read, call: Callable[[Any, Caller], AsyncGenerator[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        async def behaviour(raw: bytes, context: Context) -> None:
            told = _Told(method.name)
            try:
                with self._calls:
                    request, caller = await self._admit(told, method, read, raw, context)
                    with self._open_calls.watch(caller):
                        async with aclosing(call(request, caller)) as messages:
                            async for message in messages:
                                await _send(context, message)
                                told.tally.sent += len(message)
            except CallerLeftError:
                return
            except Refusal as refusal:
                await self._refuse(told, context, refusal)
            except Exception as error:  # noqa: BLE001  whatever it is, the caller gets INTERNAL and the log the rest
                await self._fail(told, context, error)
            finally:
                told.end()
            if self._tells_all:
                log.debug("stream ended", **told.words(context))

        return behaviour

    async def _admit(
        self, told: "_Told", method: Method, read: Read, raw: bytes, context: Context
    ) -> tuple[Any, Caller]:
        """Return the request and who makes it, noted in `told` as far as they are known."""
        caller = told.caller = await self._door.identify(context)
        told.tally = self._usage.tally(caller, method.full_name)
        told.tally.received += len(raw)
        await self._door.admit(caller, method, len(raw))
        told.request = read(raw)
        return told.request, caller

    async def _refuse(self, told: "_Told", context: Context, refusal: Refusal) -> None:
        told.tally.errors += 1
        status = status_of(refusal, self._cursor)
        log.info("refused", code=status.code.name, why=str(refusal), **told.words(context))
        await context.abort_with_status(status)

    async def _fail(self, told: "_Told", context: Context, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        told.tally.errors += 1
        words = told.words(context)
        log.error("failed", exc_info=error, **words)
        await context.abort_with_status(internal_status(str(words["request_id"])))


@dataclass(slots=True)
class _Told:
    """What is known of a call, for the log and for the tally of its caller; one of nobody until the caller is known."""

    method: str
    caller: Caller | None = None
    request: Any = None
    tally: Tally = field(default_factory=Tally)
    begun: float = field(default_factory=time.perf_counter)

    def end(self) -> None:
        """Count the call."""
        self.tally.calls += 1
        self.tally.micros += round((time.perf_counter() - self.begun) * SECOND)

    def words(self, context: Context) -> dict[str, str | None]:
        """Return what the log says of the call; never what it carries."""
        return {
            "method": self.method,
            "key_id": (self.caller and self.caller.key_id) or None,
            "job_id": getattr(self.request, "job_id", None) or None,
            "request_id": _request_id(context),
        }


def _request_id(context: Context) -> str:
    """Return the id that the caller gave the call, or a new one."""
    given = {key: value for key, value in context.invocation_metadata() or () if key == REQUEST_ID}
    return str(given.get(REQUEST_ID, "")) or uuid.uuid4().hex
