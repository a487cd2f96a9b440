"""The types of the SDK, as a user's mypy sees them."""

import subprocess
import sys
from pathlib import Path

import pytest
from jobledger_client.testing import FakeContext

from tests.client import typed

PROGRAM = Path(typed.__file__)


@pytest.mark.slow
def test_a_users_program_passes_mypy_strict():
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", str(PROGRAM)]
    checked = subprocess.run(command, cwd=PROGRAM.parents[2], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_its_handlers_run():
    ctx = FakeContext(items=range(3), cancel_after=4)
    await typed.handle(ctx)
    typed.plain(ctx)
    assert (ctx.reported_messages, list(ctx.artifacts), ctx.cancelled) == (["0", "1", "2"], ["a"], True)
