"""JSON: messages with their default fields, values of the command line, and the reading of both."""

import json
import sys
from typing import IO, Any, TypeVar

from google.protobuf.json_format import MessageToJson, Parse, SerializeToJsonError
from google.protobuf.message import Message
from grpc import StatusCode

from jobledger_client._error_groups import InvalidReplyError

AnyMessage = TypeVar("AnyMessage", bound=Message)

loads = json.loads
dumps = json.dumps


def print_message(message: Message) -> None:
    """Print a message as one indented document."""
    _print_message(message, indent=2)


def print_message_line(message: Message) -> None:
    """Print a message as one line, at once."""
    _print_message(message, indent=None)


def print_value(value: object) -> None:
    """Print a value as one indented document."""
    print(json.dumps(value, indent=2), flush=True)


def print_line(value: object, file: IO[str]) -> None:
    """Print a value as one line, at once."""
    print(json.dumps(value), file=file, flush=True)


def to_value(message: Message) -> Any:  # noqa: ANN401 - a JSON object
    """Return a message as a JSON value."""
    return json.loads(MessageToJson(message))


def parse_message(text: str | bytes, message: AnyMessage) -> AnyMessage:
    """Fill a message from JSON text. Raises ParseError."""
    return Parse(text, message)


def _print_message(message: Message, **layout: Any) -> None:  # noqa: ANN401 - as MessageToJson takes it
    try:
        text = MessageToJson(message, always_print_fields_with_no_presence=True, **layout)
    except (ValueError, OverflowError, SerializeToJsonError) as error:
        raise InvalidReplyError(
            f"the reply has a value that JSON cannot hold: {error}", code=StatusCode.INTERNAL
        ) from error
    print(text, file=sys.stdout, flush=True)
