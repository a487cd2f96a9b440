"""Conversions between Structs and JSON values. What JSON cannot hold without loss is a ValueError with its path."""

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from math import isfinite
from typing import Any, Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from jobledger.v1.chunk_pb2 import Artifact

from jobledger_client._values import StructLike

MAX_DEPTH: Final = 24
"""Levels of nested objects and lists, with the Struct itself; the service accepts no more."""
MAX_INTEGER: Final = 2**53
"""Integers up to this magnitude are exact: numbers in JSON, and in a Struct, are doubles."""
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

_ADVICE: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((date, time, timedelta), "a string, such as that of isoformat()"),
    ((bytes, bytearray, memoryview), "a string, such as that of base64.b64encode(…).decode()"),
    ((set, frozenset), "a list"),
)


def struct(value: StructLike | None, field: str) -> Struct | None:
    """Return a dict with string keys and JSON values as a Struct; `field` is its path in the request.

    Raises ValueError with the path of a value that JSON cannot hold, or not without loss.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"{field}: must be a dict; got {type(value).__name__}")  # noqa: TRY004 - a value of a request
    message = Struct()
    _fill_struct(message, value, field, 1)
    return message


def check_artifacts(artifacts: Mapping[str, Artifact], field: str) -> None:
    """Raise ValueError for artifacts with metadata that JSON cannot hold."""
    for name, artifact in artifacts.items():
        if artifact.HasField("metadata"):
            struct(artifact.metadata, f"{_path(field, name)}.metadata")


def _fill_struct(message: Struct, value: StructLike, field: str, depth: int) -> None:
    _check_depth(field, depth)
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"{field}: a key must be a string; got {name!r}")  # noqa: TRY004 - a value of a request
        check_encodable(name, field)
        path = _path(field, name)
        _fill(message.fields[name], _value(value, name, path), path, depth)


def _fill_list(message: ListValue, values: list[Any], field: str, depth: int) -> None:
    _check_depth(field, depth)
    for index, value in enumerate(values):
        _fill(message.values.add(), value, f"{field}[{index}]", depth)


def _fill(message: Value, value: Any, field: str, depth: int) -> None:  # noqa: ANN401 - any value
    match value:
        case None:
            message.null_value = 0  # type: ignore[assignment] # the one value of its enum
        case bool():
            message.bool_value = value
        case str():
            check_encodable(value, field)
            message.string_value = value
        case int() | float():
            message.number_value = _number(value, field)
        case Mapping():
            message.struct_value.SetInParent()
            _fill_struct(message.struct_value, value, field, depth + 1)
        case list() | tuple() | ListValue():
            message.list_value.SetInParent()
            _fill_list(message.list_value, list(value), field, depth + 1)
        case _:
            raise ValueError(f"{field}: JSON has no {type(value).__name__}; send {_advice(value)}")


def _value(values: StructLike, name: str, field: str) -> Any:  # noqa: ANN401 - any value
    if isinstance(values, Struct) and values.fields[name].WhichOneof("kind") is None:
        raise ValueError(f"{field}: must have a value; got an empty google.protobuf.Value")
    return values[name]


def _number(value: float, field: str) -> float:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"{field}: must be within ±2**53 to be exact; got {_format(value)}; send a string")
    elif not isfinite(value):
        raise ValueError(f"{field}: must be a finite number; got {value}; send None, or a string")
    return value


def _format(value: int) -> str:
    return str(value) if value.bit_length() < 256 else f"an integer of {value.bit_length()} bits"  # noqa: PLR2004 - a line


def _advice(value: object) -> str:
    for types, advice in _ADVICE:
        if isinstance(value, types):
            return advice
    return "None, a bool, int, float or str, or a list or dict of these"


def _check_depth(field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{field}: must have at most {MAX_DEPTH} levels of nesting; got more")


def check_encodable(text: str, field: str) -> None:
    """Raise ValueError for a text with half of a surrogate pair, which protobuf cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field}: must have no half of a surrogate pair; got {text!r:.80}") from error


def _path(field: str, name: str) -> str:
    return f"{field}.{name}" if _PLAIN_KEY.fullmatch(name) else f"{field}[{name!r}]"


def plain(value: Struct) -> dict[str, Any]:
    """Return a Struct as a dict. Whole numbers become ints, as in JSON: a Struct itself has only floats."""
    return {name: _plain(field) for name, field in value.fields.items()}


def _plain(value: Value) -> Any:  # noqa: ANN401 - any JSON value
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            return int(value.number_value) if value.number_value.is_integer() else value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
