"""Tasks that come by standard input, one line of JSON each, and are answered on standard output."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

Answer = dict[str, Any]
Tasks = Mapping[str, Callable[..., Awaitable[Answer]]]


async def carried_out(tasks: Tasks, line: str) -> Answer:
    """Carry out one task."""
    request: dict[str, Any] = json.loads(line)
    try:
        return await tasks[request.pop("task")](**request)
    except grpc.aio.AioRpcError as error:
        return {"error": f"{error.code().name}: {error.details()}"}
    except (ValueError, RuntimeError, TimeoutError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def serve(tasks: Tasks) -> None:
    """Carry out what standard input asks for, one after the other, until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await carried_out(tasks, line)), flush=True)
