"""Runs a migration that is written as SQL, in a file for each database."""

from pathlib import Path

from alembic import op


def run_statements(migration: str) -> None:
    """Run the statements beside a migration's file: of `0001_schema.py`, `0001_schema.sqlite.sql` or `.postgresql.sql`.

    Empty lines separate the statements, as those of triggers contain semicolons.
    """
    connection = op.get_bind()
    file = Path(migration).with_suffix(f".{connection.dialect.name}.sql")
    for statement in file.read_text().split("\n\n"):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
