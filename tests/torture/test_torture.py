"""A short run of the harness on each store: no guarantee is broken while faults are injected under load."""

from pathlib import Path

import pytest

from tests.torture.assembly import HOSTILE, STORES
from tests.torture.checks import check
from tests.torture.history import History
from tests.torture.recorder import methods
from tests.torture.run import Torture

pytestmark = pytest.mark.long  # servers are killed under load

SECONDS = 10.0
SEED = 1


@pytest.mark.guarantee("3a.1", "3a.2", "3a.3", "3a.4", "3a.5", "3a.6", "3a.7", "3a.8", "3a.9", "3b.1", "3b.8", "3b.13")
@pytest.mark.guarantee("3c.1", "3c.2", "3c.5", "3c.6", "3c.9", "3c.10", "3c.14", "3d.1", "3d.2", "3d.4")
@pytest.mark.parametrize("kind", STORES)
async def test_no_guarantee_is_broken_under_faults(kind: str, tmp_path: Path):
    run = Torture(kind, SECONDS, SEED, tmp_path / "history", print)
    await run.run()
    history = History.load(tmp_path / "history")
    assert check(history) == []
    assert history.faults
    acknowledged = {(call.owner, call.method) for call in history.calls if call.succeeded}
    assert acknowledged >= {(owner, method) for owner in history.owners for method in ("CreateJob", "ClaimChunks")}
    assert {call.method for call in history.calls if call.owner == HOSTILE} >= methods().keys()
