"""The documents name as many connections of a process as it opens at most."""

import re
from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import open_database

LISTENING = 1
"""The connection for wake-ups, beside the pools."""


@pytest.fixture(scope="module")
def connections() -> int:
    """Return the connections of a process on PostgreSQL; none is opened here."""
    with closing(open_database("postgresql+psycopg://nobody@127.0.0.1:1/none")) as database:
        pools = [engine.pool for engine in database.engines]
        assert [pool._max_overflow for pool in pools] == [0] * len(pools)
        return sum(pool.size() for pool in pools) + LISTENING


@pytest.mark.parametrize(
    ("document", "form"),
    [
        ("docs/operations/databases.md", r"connections of a process \|[^|]*\| (\d+) at most"),
        ("docs/operations/sizing.md", r"connections to PostgreSQL \| (\d+) a process at most"),
        ("docs/scaling.md", r"each takes (\d+) connections"),
        ("docs/scaling.md", r"A process uses (\d+) at most"),
        ("docs/scaling.md", r"max_connections  ≥  (\d+) × N × R"),
    ],
)
def test_a_document_names_the_connections_of_a_process(document: str, form: str, connections: int):
    assert re.findall(form, Path(document).read_text()) == [str(connections)]
