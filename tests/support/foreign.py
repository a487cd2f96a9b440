"""A client that knows nothing of Jobledger but its reflection: `buf curl`."""

import asyncio
import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from tests.support.bounds import within

BUF = Path(sys.executable).with_name("buf")
FLAGS = ["--protocol", "grpc", "--http2-prior-knowledge", "--reflect"]


@dataclass
class Answer:
    """What `buf curl` printed, and how it ended."""

    code: int
    out: str
    err: str

    def messages(self) -> list[dict]:
        """Return the JSON messages of a stream, or the one of a call."""
        decoder, rest, found = json.JSONDecoder(), self.out.lstrip(), []
        while rest:
            message, end = decoder.raw_decode(rest)
            found.append(message)
            rest = rest[end:].lstrip()
        return found


@dataclass
class Refusal:
    """The details of an error, read from their bytes as a foreign client does."""

    code: str
    reason: str
    domain: str
    fields: dict[str, str]

    @classmethod
    def of(cls, answer: Answer) -> "Refusal":
        """Return the details of a call that must have been refused."""
        assert answer.code != 0, answer.out
        error = json.loads(answer.err)
        details = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in error["details"]}
        info = ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
        request = BadRequest.FromString(details.get("google.rpc.BadRequest", b""))
        fields = {violation.field: violation.description for violation in request.field_violations}
        return cls(error["code"], info.reason, info.domain, fields)


async def buf_curl(target: str, method: str, *flags: str, data: dict | None = None) -> Answer:
    """Call a method, with data as JSON, and return what was printed."""
    request = [] if data is None else ["--data", json.dumps(data)]
    url = f"http://{target}/{method}".rstrip("/")
    process = await asyncio.create_subprocess_exec(
        BUF, "curl", *FLAGS, *flags, *request, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await within(process.communicate())
    assert process.returncode is not None
    return Answer(process.returncode, out.decode(), err.decode())
