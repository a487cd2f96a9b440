"""The index of the words of jobs, which each database has in its own way."""

from alembic import op


def create_full_text() -> None:
    """Create the index of `job_words`: on SQLite a table of FTS5 that triggers keep."""
    if op.get_bind().dialect.name == "postgresql":
        return  # there it is an index of the table, job_words_search
    # To the tokenizer "ascii", whatever is not ASCII is part of a word. Prefixes of up to three characters have entries
    # of their own, as those that begin many words would be put together from all of them.
    op.execute(
        "CREATE VIRTUAL TABLE job_search USING fts5(words, content='job_words', content_rowid='number',"
        " tokenize='ascii', detail='none', columnsize=0, prefix='1 2 3')"
    )
    add = "INSERT INTO job_search (rowid, words) VALUES (new.number, new.words);"
    remove = "INSERT INTO job_search (job_search, rowid, words) VALUES ('delete', old.number, old.words);"
    for name, event, statements in (
        ("added", "INSERT", add),
        ("changed", "UPDATE OF words", remove + add),
        ("removed", "DELETE", remove),
    ):
        op.execute(f"CREATE TRIGGER job_words_{name} AFTER {event} ON job_words BEGIN {statements} END")
