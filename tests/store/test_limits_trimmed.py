"""A limit goes only when nothing uses it, whatever another replica does with it at that moment."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.features.limits.store import LimitStore
from jobledger_service.features.limits.tables import limits
from sqlalchemy import insert, select, update

from tests.support.databases import new_database

pytestmark = pytest.mark.fast


@pytest.fixture
def url(store: str, tmp_path: Path) -> str:
    return new_database(store, tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(open_database(url)) as opened:
        upgrade(opened)
        with opened.write() as connection:
            rows = [row(f"{owner}/kind:{n}") for owner in ("alice", "bob") for n in range(3)]
            connection.execute(insert(limits), rows)
        yield opened


def row(key: str, **fields: object) -> dict[str, object]:
    owner, _, scope = key.partition("/")
    nothing = {"max_running": 1, "running": 0, "waiting": 0, "is_set": False, "values_through": None}
    return {"limit_key": key, "owner": owner, "scope": scope} | nothing | fields


def kept(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(select(limits.c.limit_key)).scalars())


def test_limits_that_are_used_or_set_stay(database: Database):
    used = {
        "eve/kind:running": {"running": 1},
        "eve/kind:waiting": {"waiting": 1},
        "eve/each:user": {"values_through": "", "max_running": None},
        "eve/kind:set": {"is_set": True},
    }
    with database.write() as connection:
        connection.execute(insert(limits), [row(key, **fields) for key, fields in used.items()])
        connection.execute(insert(limits), [row("eve/kind:lifted", max_running=None)])
    store = LimitStore(database)
    assert [store.trim(4) for _ in range(3)] == [4, 3, 0]
    assert kept(database) == set(used)


@pytest.mark.parametrize("store", ["postgresql"], scope="module")
def test_a_limit_that_another_replica_is_taking_is_not_deleted_under_it(database: Database, url: str):
    store = LimitStore(database)
    taken = "alice/kind:1"
    with closing(open_database(url)) as replica:
        with replica.write() as taking:
            taking.execute(select(limits).where(limits.c.limit_key == taken).with_for_update())
            assert store.trim(100) == 5, "it waits for nobody"
            taking.execute(update(limits).where(limits.c.limit_key == taken).values(running=1))
            assert store.trim(100) == 0
        assert store.trim(100) == 0
        assert kept(database) == {taken}
        with replica.write() as releasing:
            releasing.execute(update(limits).where(limits.c.limit_key == taken).values(running=0))
    assert store.trim(100) == 1
