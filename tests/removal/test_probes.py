"""Health follows the object stores below which artifacts may be deleted."""

from pathlib import Path

import pytest

from tests.bulk.runs import deleting_in
from tests.operate.test_health import system_health
from tests.removal.bucket_stores import S3, BucketStore, Gs
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.databases import new_database

pytestmark = pytest.mark.long  # object stores are started, and go away


async def problems(api: Api, *, some: bool) -> list[str]:
    """Return the problems of the stores when there are some, or when there are none."""
    while True:
        found = (await system_health(api)).components
        told = [one.problem for one in found if one.problem]
        if found and bool(told) is some:
            return told


@pytest.mark.parametrize("driver", [S3, Gs])
async def test_a_bucket_that_is_away_degrades_until_it_is_back(
    driver: type[BucketStore], tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    buckets = driver(tmp_path)
    buckets.fill("media", "x")
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    roots = f"{buckets.scheme}://media/out/ {buckets.scheme}://absent/"
    with deleting_in(roots, new_database("sqlite", tmp_path), tmp_path, health_probe_interval="0.1") as server:
        api = connect(server)
        assert await problems(api, some=True) == ["the bucket absent is not there"]
        buckets.fill("absent", "x")
        assert await problems(api, some=False) == []
        buckets.kill()
        assert await problems(api, some=True)
        buckets.start()
        for name in ("media", "absent"):  # it keeps nothing
            buckets.fill(name, "x")
        assert await problems(api, some=False) == []
    buckets.kill()
