"""What the service notes of calls is written in small steps: commands of owners are carried out in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from jobledger_service.core.duty import Duty
from jobledger_service.core.model.micros import Micros
from jobledger_service.features.access import feature as access
from jobledger_service.features.access.rules import ApiKey, digest_of, token_of
from jobledger_service.features.access.store import SqlKeyStore
from jobledger_service.features.usage import feature as usage
from jobledger_service.transport.identity import Caller, Role
from sqlalchemy import event

from tests.isolation.kernels import HOUR, Ledger, opened
from tests.support.databases import new_database

BOB = "bob"
KEYS = 2_100
"""More than two steps record, or delete."""
MAX_ROWS = 1_000


@pytest.fixture
async def ledger(store: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(new_database(store, tmp_path), auth="keys") as one:
        yield one


def changed_rows(ledger: Ledger, *begins: str) -> list[int]:
    """Return a list to which each statement that begins so adds how many rows it changed; a job of bob's adds 0."""
    rows: list[int] = []

    def executed(*given: Any) -> None:
        _, cursor, statement, parameters, _, many = given
        if statement.startswith(begins):
            rows.append(len(parameters) if many else cursor.rowcount)
        elif statement.startswith("INSERT INTO jobs "):
            rows.append(0)

    event.listen(ledger.kernel.database.writer, "after_cursor_execute", executed)
    return rows


async def beside(ledger: Ledger, once: Callable[[], Awaitable[bool]]) -> None:
    """Do a duty until nothing is left, while bob creates a job."""

    async def done() -> None:
        while await once():
            pass

    await asyncio.gather(done(), ledger.create(BOB, 1))


def assert_bob_is_between(rows: list[int], keys: int, max_rows: int) -> None:
    """Hold that all rows were changed in small steps, and that bob waited for one of them at most."""
    assert sum(rows) == keys
    assert max(rows) <= max_rows
    assert rows.index(0) <= 1


def duty_of(duties: Any, name: str) -> Duty:
    """Return a duty by its name."""
    return next(one for one in duties if one.name == name)


@pytest.mark.guarantee("3b.2")
async def test_usage_of_many_keys_is_recorded_and_forgotten_in_steps_between_which_others_go(ledger: Ledger):
    feature, counted = usage.feature.open(ledger.kernel), ledger.kernel.calls.usage
    for number in range(KEYS):
        counted.counts_for(Caller("alice", "a", f"{number:012x}"), "GetJob").calls += 1
    rows = changed_rows(ledger, "INSERT INTO usage ", "DELETE FROM usage ")
    await beside(ledger, duty_of(feature.duties, "usage").once)
    assert_bob_is_between(rows, KEYS, MAX_ROWS)
    rows.clear()
    ledger.clock[0] += 500 * 24 * HOUR
    while await duty_of(feature.duties, "usage retention").once():
        pass
    assert sum(rows) == KEYS
    assert max(rows) <= MAX_ROWS


@pytest.mark.guarantee("3b.2")
async def test_the_last_use_of_many_keys_is_recorded_in_steps_between_which_others_go(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    assert access.ROWS_PER_STEP <= MAX_ROWS
    monkeypatch.setattr(access, "ROWS_PER_STEP", 50)
    keys = SqlKeyStore(ledger.kernel.database)
    names = [f"{number:012x}" for number in range(110)]
    tokens = [token_of(name, name.encode()) for name in names]
    roles = frozenset({Role.CALLER})
    made = [
        ApiKey(name, "alice", "a", roles, digest_of(token), Micros(1))
        for name, token in zip(names, tokens, strict=True)
    ]
    keys.write(lambda _: made)
    feature = access.feature.open(ledger.kernel)
    assert feature.authenticate is not None
    for begin in range(0, len(tokens), 50):
        await asyncio.gather(*map(feature.authenticate, tokens[begin : begin + 50]))
    rows = changed_rows(ledger, "UPDATE api_keys ")
    await beside(ledger, duty_of(feature.duties, "key use").once)
    assert_bob_is_between(rows, len(tokens), access.ROWS_PER_STEP)
