"""Answers for programs: the JSON form of the messages, with the fields that are at their default."""

import sys
from typing import Any

from google.protobuf.json_format import MessageToJson, SerializeToJsonError
from google.protobuf.message import Message
from grpc import StatusCode

from jobledger_client._errors import InvalidReplyError


def document(message: Message) -> None:
    """Print a message as one indented document."""
    _write(message, indent=2)


def line(message: Message) -> None:
    """Print a message as one line, at once."""
    _write(message, indent=None)


def _write(message: Message, **layout: Any) -> None:  # noqa: ANN401 - as MessageToJson takes it
    try:
        text = MessageToJson(message, always_print_fields_with_no_presence=True, **layout)
    except (ValueError, OverflowError, SerializeToJsonError) as error:
        raise InvalidReplyError(
            f"the reply has a value that JSON cannot hold: {error}", code=StatusCode.INTERNAL
        ) from error
    print(text, file=sys.stdout, flush=True)
