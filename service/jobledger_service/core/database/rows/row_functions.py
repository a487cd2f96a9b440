"""The functions between values and rows, made from the table of a type's fields."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

from msgspec import defstruct, msgpack
from sqlalchemy import Table

from jobledger_service.core.database.cells import Row, artifacts_of
from jobledger_service.core.database.tables import artifact_versions
from jobledger_service.core.database.tables.schema import BODIES, COLUMN_KINDS
from jobledger_service.core.model.chunk import NO_ARTIFACTS
from jobledger_service.core.model.compiled import compiled, construction
from jobledger_service.core.model.fields import Field, Kept, field_of, plain_type, type_of

V = TypeVar("V")

_encode: Final = msgpack.Encoder().encode


def body_reader(type_: type, fields: Sequence[Field], kept: Kept) -> Callable[[bytes], Any]:
    """Return the function from a body to a value with its fields by name; one that it lacks has its default."""
    inside = [_member(type_, field) for field in fields if field.kept is kept]
    return msgpack.Decoder(defstruct(f"{type_.__name__}_{BODIES[kept]}", inside, array_like=True)).decode


def _member(type_: type, field: Field) -> tuple[str, type, Any]:
    """Return a field of a body, with the default that it has in the model."""
    inside, _, name = field.path.rpartition(".")
    info = field_of(type_of(type_, inside) if inside else type_, name)
    return field.name, info.type, info.default


def row_reader(type_: type[V], fields: Sequence[Field], table: Table) -> tuple[list[Any], Callable[[Sequence[Any]], V]]:
    """Return the columns of a table that a value is made from, and the function from a row of these to the value.

    The last column is the content of the value's version of artifacts.
    """
    scope: dict[str, Any] = {"artifacts_of": artifacts_of, "NO_ARTIFACTS": NO_ARTIFACTS}
    places, lines = {}, []
    names = []
    for field in fields:
        if field.kept in BODIES:
            places[field.path] = f"{BODIES[field.kept]}.{field.name}"
        elif field.kept is Kept.VERSION:
            places[field.path] = "NO_ARTIFACTS if artifacts_revision is None else artifacts_of(content)"
        elif not _is_computed(type_, field.path):
            places[field.path] = _from_column(type_, field, scope)
            names.append(field.name)
    for kept, name in BODIES.items():
        if any(field.kept is kept for field in fields):
            names.append(name)
            scope[f"read_{name}"] = body_reader(type_, fields, kept)
            lines.append(f"{name} = read_{name}({name})")
    made = construction(type_, places, scope)
    read = compiled("read", "row", [f"{', '.join(names)}, content = row", *lines, f"return {made}"], scope)
    return [*(table.c[name] for name in names), artifact_versions.c.content], read


def _is_computed(type_: type, path: str) -> bool:
    """Whether an attribute is a property, of a value or of a value in it."""
    inside, _, name = path.rpartition(".")
    return isinstance(getattr(type_of(type_, inside) if inside else type_, name), property)


def _from_column(type_: type, field: Field, scope: dict[str, Any]) -> str:
    """Return the expression of what a column holds."""
    plain, optional = plain_type(type_, field.path)
    if not issubclass(plain, Enum):
        return field.name
    scope[plain.__name__] = plain
    made = f"{plain.__name__}({field.name})"
    return f"None if {field.name} is None else {made}" if optional else made


def row_writer(type_: type[V], fields: Sequence[Field], *written: Kept) -> Callable[[V], Row]:
    """Return the function from a value to those of its columns that are kept in these ways."""
    parts = dict.fromkeys(field.path.rpartition(".")[0] for field in fields if "." in field.path)
    lines = [f"{part} = value.{part}" for part in parts]
    values = {}
    for field in fields:
        if field.kept in written and field.kept in COLUMN_KINDS:
            values[field.name] = _to_column(type_, field)
    for kept, name in BODIES.items():
        inside = [_to_body(type_, field) for field in fields if field.kept is kept]
        if kept in written and inside:
            values[name] = f"encode(({', '.join(inside)},))"
    pairs = ", ".join(f"{name!r}: {value}" for name, value in values.items())
    scope = {"encode": _encode}
    made: Callable[[V], Row] = compiled("row", "value", [*lines, f"return {{{pairs}}}"], scope)
    return made


def comparison(fields: Sequence[Field], *kept: Kept) -> Callable[[V, V], bool]:
    """Return the function that tells whether two values have the same fields of those that are kept in these ways."""
    names = [field.path for field in fields if field.kept in kept]
    compare: Callable[[V, V], bool] = compiled(
        "compare", "first, second", [f"return {' and '.join(f'first.{name} == second.{name}' for name in names)}"], {}
    )
    return compare


def _attribute(field: Field) -> str:
    return field.path if "." in field.path else f"value.{field.path}"


def _to_column(type_: type, field: Field) -> str:
    """Return the expression of what a column is to hold."""
    plain, optional = plain_type(type_, field.path)
    value = _attribute(field)
    if not issubclass(plain, Enum):
        return value
    return f"{value} and {value}.value" if optional else f"{value}.value"


def _to_body(type_: type, field: Field) -> str:
    """Return the expression of what a body is to hold; of mappings without an entry there are some of other types."""
    value = _attribute(field)
    return f"{value} or {{}}" if plain_type(type_, field.path)[0] == Mapping[str, str] else value
