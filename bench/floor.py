"""The floor: a bare grpc.aio server that answers each call, and feeds each stream, with bytes that it was given.

It has Jobledger's event loop and server options, and nothing of Jobledger behind them. Two calls of its own steer it:
`Load` takes the reply of a method, none for a refusal, and how many bytes the method appends to a file and syncs before
it answers; `Flow` starts and stops the streams.
"""

import asyncio
import json
import os
import signal
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

import grpc
import uvloop
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from jobledger_service.core.api.services import JOB_SERVICE, WORKER_SERVICE
from jobledger_service.features.imports.api import IMPORT_SERVICE
from jobledger_service.transport.server import OPTIONS

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[bytes, bytes]  # generic in its stubs only
    Handler = grpc.RpcMethodHandler[bytes, bytes]
else:
    Context = grpc.aio.ServicerContext
    Handler = grpc.RpcMethodHandler

STEERING: Final = "bench.Floor"


class Floor:
    """The replies by method, and whether the streams flow."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes | None] = {}
        self.appended: dict[str, bytes] = {}
        self.file = TemporaryFile(buffering=0)  # noqa: SIM115  open as long as the process runs
        self.flows = asyncio.Event()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of Jobledger's services and of the steering."""
        steering: dict[str, Handler] = {
            "Load": grpc.unary_unary_rpc_method_handler(self._load),
            "Flow": grpc.unary_unary_rpc_method_handler(self._flow),
        }
        return (
            self._service(JOB_SERVICE),
            self._service(WORKER_SERVICE),
            self._service(IMPORT_SERVICE),
            grpc.method_handlers_generic_handler(STEERING, steering),
        )

    def _service(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        methods = {method.name: self._method(method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _method(self, method: MethodDescriptor) -> Handler:
        path = f"/{method.containing_service.full_name}/{method.name}"
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(path))
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._drain)
        return grpc.unary_unary_rpc_method_handler(self._unary(path))

    def _unary(self, path: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        replies, appended, file = self.replies, self.appended, self.file

        async def behaviour(_request: bytes, context: Context) -> bytes:
            reply = replies[path]
            if appended[path]:
                file.write(appended[path])
                os.fdatasync(file.fileno())
            if reply is None:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")
            return reply

        return behaviour

    async def _drain(self, requests: AsyncIterator[bytes], _context: Context) -> bytes:
        async for _ in requests:
            pass
        return b""

    def _stream(self, path: str) -> Callable[[bytes, Context], Awaitable[None]]:
        async def behaviour(_request: bytes, context: Context) -> None:
            message = self.replies[path] or b""
            await context.write(message)
            while True:
                if not self.flows.is_set():
                    await self.flows.wait()
                await context.write(message)

        return behaviour

    async def _load(self, request: bytes, _context: Context) -> bytes:
        options: dict[str, Any] = json.loads(request)
        self.appended[options["path"]] = bytes(options.get("append", 0))
        self.replies[options["path"]] = None if options["reply"] is None else b64decode(options["reply"])
        return b""

    async def _flow(self, request: bytes, _context: Context) -> bytes:
        if request == b"on":
            self.flows.set()
        else:
            self.flows.clear()
        return b""


async def serve() -> None:
    """Serve on a free port until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(Floor().handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"floor listening on 127.0.0.1:{port}", flush=True)
    await stopping.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve())
