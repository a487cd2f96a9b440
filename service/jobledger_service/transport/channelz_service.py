"""Channelz: what gRPC knows of the servers and connections of this process, as grpc.channelz.v1 tells it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_channelz.v1.channelz import ChannelzServicer
from msgspec import Struct as MsgStruct

from .identity import Caller
from .refusals import ConnectionNotFound


class ChannelzService:
    """The calls of operators: each method that gRPC's own servicer has."""

    def __getattr__(self, name: str) -> Callable[[Message, Caller], Awaitable[Message]]:
        """Return the method of this name."""
        return partial(_answer, getattr(ChannelzServicer, name))


class _Said(MsgStruct):
    """Stands in for the call's context, on which gRPC's servicer sets how it failed."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


async def _answer(method: Callable[[Message, Any], Message | None], request: Message, caller: Caller) -> Message:  # noqa: ARG001  the same for all
    said = _Said()
    answer = method(request, said)
    if said.code is grpc.StatusCode.NOT_FOUND:
        raise ConnectionNotFound(said.details)
    if answer is None:
        raise RuntimeError(f"channelz failed: {said.details}")
    return answer
