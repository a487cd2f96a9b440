"""Many jobs quickly: a seeded crowd, and copies of it that the database makes, each a little older."""

from typing import Any

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import counts, job_words, jobs
from sqlalchemy import CTE, BigInteger, Text, cast, insert, literal, select, true, update

from bench.population import JobPopulation
from bench.seed import analyse, fill, indexes_last

END = 1_790_000_000_000_000
"""When the crowd is looked at, in microseconds since 1970."""
APART = 7_919
"""Microseconds between a job and its copy."""


def many(database: Database, base: int, copies: int) -> None:
    """Make `base` seeded jobs of one chunk, and `copies` of each without chunks: fit for lists of keys only.

    The segments of a copy are those of the job that it is a copy of.
    """
    fill(database, JobPopulation(base, END, chunks=(1,)))
    numbers = _numbers(copies)
    with indexes_last(database), database.write() as connection:
        for table in (jobs, job_words):
            columns = [column for column in table.c if column.name != "number"]
            copied = select(*(_copied(column, numbers.c.n) for column in columns)).join_from(table, numbers, true())
            connection.execute(insert(table).from_select(columns, copied))
        connection.execute(update(counts).values(jobs=counts.c.jobs * (copies + 1)))
    analyse(database)


def _numbers(limit: int) -> CTE:
    first = select(cast(literal(1), BigInteger).label("n")).cte("numbers", recursive=True)
    return first.union_all(select(first.c.n + 1).where(first.c.n < limit))


def _copied(column: Any, number: Any) -> Any:
    if column.name in ("job_key", "job_id"):
        return column + "-" + cast(number, Text)
    if column.name in ("create_time", "start_time", "update_time", "end_time"):
        return column - number * APART
    return column
