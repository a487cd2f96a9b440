"""The functions between values and messages of the contract, made from the tables of fields.

They fill a message in place, within another: adding a separate one copies it through its encoding, which costs as much
as making it. A field that a message would not store, as it has the default of its type and no presence, is not set.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, get_args, get_origin

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from jobledger_service.core.model.compiled import compiled, construction
from jobledger_service.core.model.fields import Field, plain_type

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

V = TypeVar("V")
M = TypeVar("M", bound=Message)

_PARTS: Final = {"spec": "", "progress": "progress", "counts": "chunks_summary"}
"""The parts of values, and where messages have them."""


def _numbers_of(states: type[StrEnum], enum: EnumDescriptor) -> dict[Any, int]:
    """Return the number of each member in an enum of the contract, whose names have a prefix."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {member: enum.values_by_name[prefix + member].number for member in states}


def message_maker(type_: type[V], message: type[M], scope: Mapping[str, Any] = NOTHING) -> Callable[[V], M]:
    """Return the function from a value to a message, all of whose fields are attributes of the value.

    `scope` has the functions to other messages, which are named after these. Members of enumerations have the names of
    the contract, without the prefix.
    """
    arguments, values = [], {**scope, "made": message}
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        value, item = f"value.{name}", "item" if field.is_repeated else f"value.{name}"
        if field.enum_type is not None:
            enum = field.enum_type
            prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
            values[enum.name] = {member.name.removeprefix(prefix): member.number for member in enum.values}
            made = f"{enum.name}[{item}.name]"
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            made = f"{field.message_type.name}({item})"
        else:
            arguments.append(f"{name}={value}")
            continue
        if field.is_repeated:
            made = f"[{made} for item in {value}]"
        elif plain_type(type_, name)[1]:
            made = f"None if {value} is None else {made}"
        arguments.append(f"{name}={made}")
    make: Callable[[V], M] = compiled("make", "value", [f"return made({', '.join(arguments)})"], values)
    return make


def message_filler(
    type_: type, fields: Iterable[Field], message: Descriptor, arguments: str, scope: Mapping[str, Any]
) -> Any:  # noqa: ANN401  a function of the arguments
    """Return the function that fills a message with those of a value's fields that it has.

    Its arguments are the message, and the value or one of its parts. `scope` has what `message_maker` takes, and
    `encoded_time`.
    """
    lines, values = [], dict(scope)
    source = arguments.partition(", ")[2]
    for part, place in _PARTS.items():
        if source == "value" and any(field.path.startswith(f"{part}.") for field in fields):
            lines.append(f"{part} = value.{part}")
            if place:
                lines.append(f"to_{place} = message.{place}")
    there: set[str] = set()
    for field in fields:
        if (target := target_of(message, field)) is not None:
            # The first field of a part is set whatever it is, so that the message has the part.
            part = target[0].rpartition(".")[0]
            lines += _filling(type_, field, *target, values, always=part != "" and part not in there)
            there.add(part)
    return compiled("fill", arguments, lines, values)


def target_of(message: Descriptor, field: Field) -> tuple[str, FieldDescriptor] | None:
    """Return where a message shows a field, and as what; None for a field that it does not have."""
    part, _, name = field.path.rpartition(".")
    *inside, name = (field.message or f"{_PARTS.get(part, part)}.{name}".lstrip(".")).split(".")
    for step in inside:
        message = cast("Descriptor", message.fields_by_name[step].message_type)
    shown = message.fields_by_name.get(name)
    return None if shown is None else (".".join([*inside, name]), shown)


def _filling(
    type_: type, field: Field, place: str, shown: FieldDescriptor, scope: dict[str, Any], *, always: bool
) -> list[str]:
    """Return the lines that set one field of a message."""
    plain, optional = plain_type(type_, field.path)
    value = field.path if "." in field.path else f"value.{field.path}"
    inside = place.rpartition(".")[0]
    target = f"to_{place}" if inside and inside in _PARTS.values() else f"message.{place}"
    if get_origin(plain) is Mapping:
        of_message = get_args(plain)[1]
        put = " = item" if of_message is str else f".CopyFrom({of_message.__name__}(item))"
        return [f"if {value}:", f"    for name, item in {value}.items():", f"        {target}[name]{put}"]
    if optional:
        return [f"if (item := {value}) is not None:", f"    {_put(target, 'item', plain, shown, scope)}"]
    is_skipped_if_empty = shown.is_repeated or (shown.enum_type is None and not shown.has_presence)
    if is_skipped_if_empty and not always:
        return [f"if item := {value}:", f"    {_put(target, 'item', plain, shown, scope)}"]
    return [_put(target, value, plain, shown, scope)]


def _put(target: str, value: str, plain: Any, shown: FieldDescriptor, scope: dict[str, Any]) -> str:  # noqa: ANN401
    """Return the statement that sets a field to the value of an expression."""
    if get_origin(plain) is tuple:
        return f"{target}.extend(map({get_args(plain)[0].__name__}, {value}))"
    if shown.enum_type is not None:
        scope[plain.__name__] = _numbers_of(plain, shown.enum_type)
        return f"{target} = {plain.__name__}[{value}]"
    if shown.message_type is None:
        return f"{target} = {value}"
    if shown.message_type.name == "Timestamp":
        return f"{target}.MergeFromString(encoded_time({value}))"
    return f"{target}.CopyFrom({shown.message_type.name}({value}))"


def value_maker(
    type_: type[V],
    fields: Iterable[Field],
    message: Descriptor,
    scope: Mapping[str, Any],
    expressions: Mapping[str, str] = NOTHING,
) -> Callable[[Any], V]:
    """Return the function from a message to a value; fields that the message does not have have their default.

    `scope` has the functions from other messages, named after these, `expressions` other ones, by the field's path.
    """
    values = dict(scope)
    places = {field.path: reading(type_, field, message, values) for field in fields if target_of(message, field)}
    made = construction(type_, {**places, **expressions}, values)
    make: Callable[[Any], V] = compiled("make", "message", [f"return {made}"], values)
    return make


def reading(type_: type, field: Field, message: Descriptor, scope: dict[str, Any]) -> str:
    """Return the expression of what a message shows of a field that it has; what it needs is added to `scope`."""
    place, shown = cast("tuple[str, FieldDescriptor]", target_of(message, field))
    plain, optional = plain_type(type_, field.path)
    value = f"message.{place}"
    if get_origin(plain) is tuple:
        made = f"tuple(map({get_args(plain)[0].__name__}_of, {value}))"
    elif get_origin(plain) is not None:  # a mapping
        of_message = get_args(plain)[1]
        made = f"{{name: {value}[name] for name in {value}}}"  # dict() takes twice as long for one of the contract
        if of_message is not str:
            made = f"{{name: {of_message.__name__}_of(item) for name, item in {value}.items()}}"
    elif shown.enum_type is not None:
        scope[f"{plain.__name__}_of"] = {
            number: member for member, number in _numbers_of(plain, shown.enum_type).items()
        }
        made = f"{plain.__name__}_of[{value}]"
    elif shown.message_type is not None:
        made = f"{shown.message_type.name}_of({value})"
    else:
        made = value
    parent, _, name = value.rpartition(".")
    return f"{made} if {parent}.HasField({name!r}) else None" if optional else made
