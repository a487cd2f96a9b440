"""The fixtures of the tests of the ledger."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return a ledger over a new SQLite file."""
    with closing(Ledger(tmp_path / "ledger.db")) as opened:
        yield opened
