"""What all tables share. Times are microseconds since 1970; what is never searched is kept as text or bytes."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    column,
    table,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from jobledger_service.core.model.fields import Field, Kept, plain_type

metadata = MetaData()

POSTGRES: Final = "postgresql"

schema_version = table("alembic_version", column("version_num"))
"""Alembic's own table, which says of which version the schema is."""
# Keys are compared by their bytes on every database, as Python compares them.
Key = Text().with_variant(Text(collation="C"), "postgresql")

NEVER = 9_223_372_036_854_775_807
"""Stands for the end of a job that has not ended, in the order by end."""
COLUMN_KINDS: Final = (Kept.KEY, Kept.FIXED, Kept.COLUMN, Kept.STEADY)
BODIES: Final = {Kept.SETTLED: "settled", Kept.CURRENT: "current"}
"""The columns of bodies: fields that no statement uses, as one MessagePack array."""
KEYS: Final = ("job_key", "parked_for")
SMALL: Final = ("held", "claimable")
_SMALL: Final = SmallInteger()
_TYPES: Final[dict[Any, TypeEngine[Any]]] = {int: BigInteger(), float: Double(), bytes: LargeBinary()}


def partial_index(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]) -> Index:
    """Return an index of the rows that meet a condition.

    A query has to say the same, with the same literal, for its database to use the index.
    """
    return Index(name, *columns, sqlite_where=where, info={POSTGRES: {"where": where}})


class Json(TypeDecorator[Any]):
    """JSON; JSONB on PostgreSQL, whose dialect is imported only where it is used: it takes 30 ms, and 3 MiB."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of a database."""
        if dialect.name != POSTGRES:
            return dialect.type_descriptor(JSON(none_as_null=True))
        from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415

        return dialect.type_descriptor(JSONB(none_as_null=True))


class Bits(BigInteger):
    """A number whose bits are a set; adding to a row unites them."""


def columns_of(type_: type, fields: Sequence[Field]) -> Iterator[Column[Any]]:
    """Yield the columns of a type's fields, then those of its bodies."""
    for field in fields:
        if field.kept in COLUMN_KINDS:
            plain, optional = plain_type(type_, field.path)
            of_field = Key if field.name in KEYS else _SMALL if field.name in SMALL else _TYPES.get(plain, Text())
            is_key = field.kept is Kept.KEY
            yield Column(field.name, of_field, primary_key=is_key, nullable=optional, server_default=field.default)
    for kept, name in BODIES.items():
        if any(field.kept is kept for field in fields):
            yield Column(name, LargeBinary, nullable=False)


def one_of(column: str, values: list[str]) -> CheckConstraint:
    """Return the check that a column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")
