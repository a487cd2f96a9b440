"""What asking about many jobs needs: words, counts, hourly sums, tombstones, the audit trail, and runs over many."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from jobledger_service.core.model.search import label_marks, owner_mark, words

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.add_column("jobs", sa.Column("retry_time", sa.BigInteger()))
    # Of jobs that were retried before, the last change is the best that is known.
    op.execute("UPDATE jobs SET retry_time = update_time WHERE retry_count > 0")
    _index_lists()
    op.create_table(
        "job_words",
        sa.Column("number", NUMBER, sa.Identity(), nullable=False),
        sa.Column("job_key", KEY, sa.ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("job_key"),
    )
    _fill_words()
    _index_words()
    op.create_table(
        "counts",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("chunks_pending", sa.BigInteger(), nullable=False),
        sa.Column("chunks_processing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "state"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO counts (owner, kind, state, jobs, chunks_pending, chunks_processing)"
        " SELECT owner, kind, state, count(*), sum(chunks_pending), sum(chunks_processing)"
        " FROM jobs GROUP BY owner, kind, state"
    )
    op.create_table(
        "rollups",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "hour", "kind", "measure", "bucket"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "running_totals",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "hour"),
    )
    op.create_table(
        "tombstones",
        sa.Column("position", NUMBER, autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index(
        "tombstones_by_create_time", "tombstones", ["owner", "create_time", "job_key", "position"], unique=False
    )
    op.add_column("events", sa.Column("previous", sa.LargeBinary()))
    op.create_table(
        "audit",
        sa.Column("job_key", KEY, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("job_key", KEY, sa.ForeignKey("jobs.job_key", ondelete="CASCADE"), nullable=False),
        sa.Column("cursors", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_key"),
        sqlite_with_rowid=False,
    )
    of_service = sa.text(
        "state = 'PENDING' AND not_before IS NULL AND kind IN ('jobledger.artifacts', 'jobledger.bulk')"
    )
    op.create_index(
        "chunks_of_service",
        "chunks",
        ["owner", "kind", "create_time"],
        unique=False,
        sqlite_where=of_service,
        postgresql_where=of_service,
    )


def _index_lists() -> None:
    """Let every order be walked within a state, and the order by creation within a kind too."""
    op.create_index("jobs_by_kind", "jobs", ["owner", "kind", "state", "create_time", "job_key"], unique=False)
    for value in ("update_time", "end_time", "priority"):
        op.drop_index(f"jobs_by_{value}", "jobs")
        op.create_index(f"jobs_by_{value}", "jobs", ["owner", "state", value, "create_time", "job_key"], unique=False)


def _fill_words() -> None:
    """Put down the words of the jobs that are there."""
    connection = op.get_bind()
    insert = sa.text("INSERT INTO job_words (job_key, words) VALUES (:job_key, :words)")
    for rows in _pages_of_jobs(connection):
        connection.execute(insert, [_words_row(*row) for row in rows])


def _pages_of_jobs(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    columns = "job_key, owner, kind, display_name, labels, CASE state WHEN 'FAILED' THEN first_failure END"
    page = sa.text(f"SELECT {columns} FROM jobs WHERE job_key > :after ORDER BY job_key LIMIT 1000")  # noqa: S608  ours
    after = ""
    while rows := connection.execute(page, {"after": after}).all():
        yield rows
        after = rows[-1].job_key


def _words_row(job_key: str, owner: str, kind: str, name: str, labels: Any, failure: str | None) -> dict[str, str]:  # noqa: ANN401  text on SQLite
    labelled = (json.loads(labels) if isinstance(labels, str) else labels) or {}
    error = json.loads(failure)[1] if failure else ""
    found = (*words(name, kind, *labelled.values(), error), owner_mark(owner), *label_marks(labelled))
    return {"job_key": job_key, "words": " ".join(found)}


def _index_words() -> None:
    """Make the index of the words: on SQLite a table of FTS5 that triggers keep."""
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "job_words_search",
            "job_words",
            [sa.text("array_to_tsvector(string_to_array(words, ' '))")],
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": 256},
        )
        return
    # To the tokenizer "ascii", whatever is not ASCII is part of a word. Prefixes of up to three characters have entries
    # of their own, as those that begin many words would be put together from all of them.
    op.execute(
        "CREATE VIRTUAL TABLE job_search USING fts5(words, content='job_words', content_rowid='number',"
        " tokenize='ascii', detail='none', columnsize=0, prefix='1 2 3')"
    )
    op.execute("INSERT INTO job_search (job_search) VALUES ('rebuild')")
    add = "INSERT INTO job_search (rowid, words) VALUES (new.number, new.words);"
    forget = "INSERT INTO job_search (job_search, rowid, words) VALUES ('delete', old.number, old.words);"
    for name, event, does in (
        ("added", "INSERT", add),
        ("changed", "UPDATE OF words", forget + add),
        ("forgotten", "DELETE", forget),
    ):
        op.execute(f"CREATE TRIGGER job_words_{name} AFTER {event} ON job_words BEGIN {does} END")
