"""A page of keys looks at a bounded number of them, however many it leaves out."""

from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.features.access.rules import ApiKey
from jobledger_service.features.access.store import Place, SqlKeyStore

from tests.support.databases import new_database

NOW = 1_000


def made(number: int) -> ApiKey:
    """Return a key: the first six have ended, every other is alice's."""
    owner, ends = "bob" if number % 2 else "alice", NOW if number < 6 else None
    return ApiKey(f"{number:016}", owner, "n", frozenset(), bytes([number]), number, ends)


@pytest.mark.guarantee("3b.2")
def test_a_page_of_keys_examines_so_many_and_reports_where_it_ended(store: str, tmp_path: Path):
    with closing(open_database(new_database(store, tmp_path))) as database:
        upgrade(database)
        keys = SqlKeyStore(database, max_look=3)
        for number in range(10):
            keys.write(lambda _, number=number: [made(number)])

        def pages(owner: str, limit: int, *, show_ended: bool) -> list[list[int]]:
            found = []
            place: Place | None = None
            while not found or place:
                page, place = keys.list_keys(owner, NOW, place, limit, show_ended=show_ended)
                found.append([key.create_time for key in page])
            return found

        assert pages("", 2, show_ended=False) == [[], [], [6, 7], [8, 9]]
        assert pages("bob", 2, show_ended=False) == [[], [7, 9]], "other owners' keys are not examined"
        assert pages("bob", 1, show_ended=True) == [[1], [3], [5], [7], [9]]
