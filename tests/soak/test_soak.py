"""A soak of some seconds does everything that a long one does, and harms nobody."""

from pathlib import Path

import pytest

from tests.soak.run import OWNERS, Soak

pytestmark = pytest.mark.long  # servers are killed under load

STEPS = {"create", "work", "change", "read", "watch", "watch_one"}


@pytest.mark.guarantee("3b.2", "3b.8")
async def test_owners_and_kills_leave_no_violation_and_everything_is_measured(store: str, tmp_path: Path):
    lines: list[str] = []
    soak = Soak(store, 20, 7, tmp_path, lines.append)
    await soak.run()
    soak.report()  # so short a run levels nothing off: its slopes are not judged
    assert soak.violations() == []
    assert soak.kills["servers"]
    assert len(soak.tenants) == OWNERS
    for tenant in soak.tenants:
        assert {step for step in STEPS if tenant.operations[step] == 0} == set()
    measured = {trend.name for trend in soak.trends()}
    assert {"server: memory", "server: descriptors", "server: threads", "rows of jobs", "bytes of tables"} <= measured
    assert "bytes of the write-ahead log" in measured
    assert any("/h" in line for line in lines)
