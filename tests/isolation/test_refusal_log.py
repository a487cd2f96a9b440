"""A key whose calls are refused again and again fills no log, and each of its refusals is counted there."""

import asyncio
from pathlib import Path

import grpc
import pytest

from tests.operate.conftest import lines
from tests.support.errors import refused
from tests.support.keys import KeyedApi
from tests.support.tenants import shared_server

pytestmark = pytest.mark.one_store("the store has no part in it")

CALLS = 400
FURTHER = "further refusals of a key"


async def ask_for_nothing(api: KeyedApi) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get("nothing")


async def test_many_refusals_of_one_key_are_few_lines_and_another_owner_has_its_own(tmp_path: Path):
    with shared_server("sqlite", tmp_path) as shared:
        async with shared.tenant("careless") as careless, shared.tenant("bob") as bystander:
            await asyncio.gather(*(ask_for_nothing(careless) for _ in range(CALLS)))
            await ask_for_nothing(bystander)
        shared.server.stop()
        single, summed = lines(shared.server, "refused"), lines(shared.server, FURTHER)
    [of_bystander] = [line for line in single if line["key_id"] not in {one["key_id"] for one in summed}]
    assert of_bystander["method"] == "GetJob"
    assert {(line["owner"], line["method"], line["reason"]) for line in summed} == {
        ("careless", "GetJob", "JOB_NOT_FOUND")
    }
    assert len(single) - 1 + sum(line["calls"] for line in summed) == CALLS
    assert len(single) < CALLS / 4
