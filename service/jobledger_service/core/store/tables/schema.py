"""What all tables share. Times are microseconds since 1970; what is never searched is kept as text or bytes."""

from sqlalchemy import JSON, CheckConstraint, MetaData, Text, column, table
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

schema_version = table("alembic_version", column("version_num"))
"""Alembic's own table, which says of which version the schema is."""

# Keys are compared by their bytes on every database, as Python compares them.
Key = Text().with_variant(Text(collation="C"), "postgresql")
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

NEVER = 9_223_372_036_854_775_807
"""Stands for the end of a job that has not ended, in the order by end."""


def one_of(column: str, values: list[str]) -> CheckConstraint:
    """Return the check that a column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")
