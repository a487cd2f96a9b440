"""The keys in memory are those of the database, also after a fail-over that lost some, and while strangers flood it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.model.micros import Micros
from jobledger_service.features.access.keyring import MAX_UNKNOWN, KeyChanges, KeyRing
from jobledger_service.features.access.rules import ApiKey, digest_of, token_of
from jobledger_service.features.access.store import SqlKeyStore
from jobledger_service.transport.identity import Role
from jobledger_service.transport.refusals import ApiKeyRevoked, ApiKeyUnknown, InFlightFull

pytestmark = pytest.mark.fast

NOW = Micros(1_000_000)


def token(number: int) -> str:
    return token_of(f"{number:012x}", bytes(32))


def key(number: int, *, revoked: bool = False) -> ApiKey:
    roles, digest = frozenset({Role.CALLER}), digest_of(token(number))
    return ApiKey(f"{number:012x}", f"owner{number}", "key", roles, digest, NOW, revoke_time=NOW if revoked else None)


class Databases:
    """A primary and its standby; `current` is the one that servers reach."""

    def __init__(self, stores: list[SqlKeyStore]) -> None:
        self.primary, self.standby = stores
        self.current = self.primary

    def write(self, *keys: ApiKey, replicated: bool = True) -> None:
        for one in keys:
            for store in (self.current, self.standby) if replicated else (self.current,):
                store.write(lambda _, one=one: [one], one.key_id)  # type: ignore[misc]

    async def read(self, since: int) -> KeyChanges:
        return self.current.changes(since)


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(open_database(f"sqlite:///{tmp_path / name}.db"))) for name in "ab"]
        for database in opened:
            upgrade(database)
        yield Databases([SqlKeyStore(database) for database in opened])


async def test_a_key_that_is_revoked_under_a_number_of_a_lost_change_is_refused(databases: Databases):
    databases.write(key(1), key(2))
    databases.write(key(3), replicated=False)
    ring = KeyRing(databases.read, lambda: NOW, databases.primary.changes(0), shared=True)
    assert [(await ring.caller(token(number))).owner for number in (1, 2, 3)] == ["owner1", "owner2", "owner3"]
    databases.current = databases.standby
    databases.write(key(1, revoked=True), replicated=False)  # its number is that of key 3's creation
    await ring.refresh()
    with pytest.raises(ApiKeyRevoked):
        await ring.caller(token(1))
    with pytest.raises(ApiKeyRevoked):
        ring.check(key(1).key_id)
    assert (await ring.caller(token(2))).owner == "owner2"
    with pytest.raises(ApiKeyUnknown):
        await ring.caller(token(3))
    with pytest.raises(ApiKeyUnknown):
        ring.check(key(3).key_id)


async def test_a_refresh_reads_the_last_known_change_and_later_ones_alone(databases: Databases):
    reads: list[tuple[int, int]] = []

    async def read(since: int) -> KeyChanges:
        changes = databases.current.changes(since)
        reads.append((since, len(changes)))
        return changes

    databases.write(key(1), key(2), key(3))
    ring = KeyRing(read, lambda: NOW, databases.current.changes(0), shared=True)
    databases.current.record_last_used({key(3).key_id: NOW})  # which is no change
    await ring.refresh()
    databases.write(key(4))
    await ring.refresh()
    assert reads == [(3, 1), (3, 2)]
    assert (await ring.caller(token(4))).owner == "owner4"


async def test_unknown_keys_wait_for_a_silent_database_in_a_bounded_number_and_known_ones_do_not(databases: Databases):
    databases.write(key(1))
    answers = asyncio.Event()

    async def read(since: int) -> KeyChanges:
        await answers.wait()
        return databases.current.changes(since)

    ring = KeyRing(read, lambda: NOW, databases.current.changes(0), shared=True)
    strangers = [asyncio.create_task(ring.caller(token(number))) for number in range(2, MAX_UNKNOWN + 2)]
    await asyncio.sleep(0)  # all of them wait
    with pytest.raises(InFlightFull):
        await ring.caller(token(MAX_UNKNOWN + 2))
    assert (await ring.caller(token(1))).owner == "owner1"
    strangers.pop().cancel()
    answers.set()
    outcomes = await asyncio.gather(*strangers, return_exceptions=True)
    assert {type(one) for one in outcomes} == {ApiKeyUnknown}
    with pytest.raises(ApiKeyUnknown):
        await ring.caller(token(MAX_UNKNOWN + 2))
