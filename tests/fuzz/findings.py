"""What must never happen, and how it is told so that it can be made to happen again."""

from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.text_format import MessageToString

from tests.fuzz.methods import Target
from tests.support.errors import read

NEVER = {
    grpc.StatusCode.INTERNAL: "INTERNAL",
    grpc.StatusCode.UNKNOWN: "UNKNOWN",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE of a server that is well",
    grpc.StatusCode.DATA_LOSS: "something is stored that cannot be read",
    grpc.StatusCode.UNIMPLEMENTED: "UNIMPLEMENTED of a method that is listed",
}
OWN_WAY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""What gRPC itself may say, without details: a message far too large, and the end of a call that we ended."""
CLIENTS_OWN = "Internal error from Core"
"""What gRPC's client says, not the server, of a stream that ended while a request was on its way into it."""
SHOWN = 1_500


@dataclass(frozen=True)
class Finding:
    """One broken promise. Two with the same method and words are the same one."""

    method: str
    what: str
    detail: str = ""
    request: bytes = b""
    caller: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes it the same as another."""
        return self.method, self.what

    def shown(self, target: Target | None = None) -> str:
        """Return all that is known, with the request as text and as bytes."""
        lines = [f"FINDING {self.method}: {self.what}"]
        if self.caller:
            lines.append(f"  caller: {self.caller}")
        if self.detail:
            lines.append(f"  detail: {self.detail[:SHOWN]}")
        if target is not None:
            lines.append(f"  request: {_text(target, self.request)[:SHOWN]}")
            lines.append(f"  base64: {b64encode(self.request[:SHOWN]).decode()} ({len(self.request)} bytes)")
        return "\n".join(lines)


def _text(target: Target, raw: bytes) -> str:
    try:
        return MessageToString(GetMessageClass(target.descriptor.input_type).FromString(raw), as_one_line=True)
    except (DecodeError, RecursionError):
        return "no message"


def judged(error: grpc.aio.AioRpcError, target: Target) -> str:
    """Return what is wrong with a refusal; empty for one that is as the contract says."""
    if target.descriptor.client_streaming and error.details() == CLIENTS_OWN:
        return ""
    if error.code() in NEVER:
        return NEVER[error.code()]
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not target.waits:
        return "no answer"
    try:
        read(error)
    except AssertionError as wrong:
        return "" if error.code() in OWN_WAY else str(wrong).partition(":")[0]
    return ""


def told(raw: bytes, secrets: Collection[bytes]) -> bool:
    """Whether bytes have another owner's secret in them."""
    return any(secret in raw for secret in secrets)


def words_of(error: grpc.aio.AioRpcError) -> bytes:
    """Return all that a refusal tells."""
    metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    values = (value if isinstance(value, bytes) else str(value).encode() for _, value in metadata)
    return (error.details() or "").encode(errors="replace") + b"".join(values)
