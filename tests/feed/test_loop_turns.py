"""Tasks that have much to do at once continue one by one, owners in turn, and others run in between."""

import asyncio

import pytest
from jobledger_service.sharing.turns import LoopTurns

pytestmark = pytest.mark.fast


@pytest.mark.guarantee("3b.2")
async def test_one_task_continues_in_a_pass_owners_in_turn_and_others_run_in_between():
    turns, order = LoopTurns(), list[str]()

    async def work(owner: str, name: str) -> None:
        await turns.next(owner)
        order.append(name)

    async def pass_by() -> None:
        while len(order) < 6:
            order.append("-")
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work("alice", f"a{n}")) for n in range(3)]
    tasks += [asyncio.create_task(work("bob", "b"))]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(pass_by(), *tasks, return_exceptions=True)
    assert [one for one in order if one != "-"] == ["a0", "b", "a2"]
    assert "-" in order[order.index("a0") : order.index("b")]
    assert "-" in order[order.index("b") : order.index("a2")]
    await turns.next("carol")
