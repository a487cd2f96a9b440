"""Fills a database with many jobs: `python -m bench.seed --jobs 1000000 --database sqlite:///seeded.db`."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from jobledger_service.core.database.engines import Database, DatabaseInUseError, UnknownDatabaseError, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.database.tables import jobs, ledger
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.statistics.family import add_statistics
from jobledger_service.features.statistics.rollup import StatisticsDelta
from jobledger_service.features.statistics.running_totals import RunningTotals
from sqlalchemy import select, text, update

from .population import JobPopulation

AT_ONCE: Final = 2_000
"""Jobs of one transaction."""
FOLDED_AT_ONCE: Final = 25
"""Hours of one transaction."""
_INDEXES: Final = text("""
SELECT indexname, indexdef FROM pg_indexes JOIN pg_index ON indexrelid = indexname::regclass
WHERE tablename IN ('jobs', 'job_words') AND NOT indisunique
""")
"""The indexes of jobs and of their words that hold no constraint, as PostgreSQL would make them again."""


class NotEmptyError(ValueError):
    """The database has jobs already."""


def fill(database: Database, population: JobPopulation, on_progress: Callable[[int], None] | None = None) -> None:
    """Write a crowd, by the statements of the service; `on_progress` gets the number of jobs written.

    The history that brought the jobs to where they are counts as trimmed. Raises NotEmptyError.
    """
    with database.write() as connection:
        if connection.execute(select(jobs.c.job_key).limit(1)).first() is not None:
            raise NotEmptyError("the database has jobs already: name a new one")
    done, events = 0, 0
    with indexes_last(database):
        for writes in written(database, population):
            done += len(writes.new_jobs)
            events += sum(job.revision for job, *_ in writes.new_jobs)
            if on_progress is not None:
                on_progress(done)
    with database.write() as connection:
        connection.execute(update(ledger).values(position=events, trimmed=events))
    fold(database, population.end // HOUR)
    analyse(database)


def written(database: Database, population: JobPopulation) -> Iterator[Writes]:
    """Write a crowd, and yield what is written; while some is being written, what comes next is made up."""
    store = WriteStore(database)

    def write(writes: Writes, statistics: StatisticsDelta) -> Writes:
        with store.transaction() as transaction:
            transaction.save(writes)
            add_statistics(transaction.connection, database.dialect, statistics)
        return writes

    with ThreadPoolExecutor(1) as writer:
        before: Future[Writes] | None = None
        for writes, statistics in population.writes(AT_ONCE):
            now = writer.submit(write, writes, statistics)
            if before is not None:
                yield before.result()
            before = now
        if before is not None:
            yield before.result()


@contextmanager
def indexes_last(database: Database) -> Iterator[None]:
    """Let PostgreSQL build the indexes of jobs and words after the block: all at once takes less than one by one."""
    with database.write() as connection:
        indexes = {} if database.single_writer else {row[0]: row[1] for row in connection.execute(_INDEXES)}
        for name in indexes:
            connection.execute(text(f"DROP INDEX {name}"))
    yield
    with database.write() as connection:
        for definition in indexes.values():
            connection.exec_driver_sql(definition, execution_options={"no_parameters": True})


def fold(database: Database, before: int) -> None:
    """Fold the rollups of all hours that are over, as a server would have done from hour to hour."""
    totals = RunningTotals(database.dialect)
    while _fold_some(database, totals, before):
        pass


def _fold_some(database: Database, totals: RunningTotals, before: int) -> bool:
    """Fold some hours in one transaction, few, as PostgreSQL walks over what it deletes; return if there is more."""
    with database.write() as connection:
        for _ in range(FOLDED_AT_ONCE):
            due = totals.unfolded(connection, before)
            if due is None:
                return False
            totals.fold(connection, *due)
    return True


def analyse(database: Database) -> None:
    """Let PostgreSQL look at its tables now, as it will by itself before long; SQLite plans without."""
    if not database.single_writer:
        with database.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def main() -> int:
    """Fill the database that the command line names, and print its progress."""
    parser = argparse.ArgumentParser(prog="python -m bench.seed", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--database", default="sqlite:///seeded.db", metavar="URL", help="default: sqlite:///seeded.db")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="equal numbers make equal jobs (default: 1)")
    parser.add_argument("--end", type=int, metavar="SECONDS", help="when it is, since 1970 (default: now)")
    options = parser.parse_args()
    population = JobPopulation(options.jobs, (options.end or int(time.time())) * 1_000_000, options.seed)
    began = time.monotonic()

    def print_progress(done: int) -> None:
        took = time.monotonic() - began
        print(f"\r{done:,} of {options.jobs:,} jobs, {took:.0f} s", end="", file=sys.stderr, flush=True)

    try:
        database = open_database(options.database)
        try:
            upgrade(database)
            fill(database, population, print_progress)
        finally:
            database.close()
    except (NotEmptyError, UnknownDatabaseError, DatabaseInUseError) as error:
        parser.exit(1, f"bench.seed: {error}\n")
    print(f"\n{options.jobs:,} jobs in {time.monotonic() - began:.0f} s: {database.display_url}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
