"""An example ends by itself, well, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
BOUND = 50.0


def test_an_example_leaves_nothing_running_and_nothing_on_disk(tmp_path: Path):
    command = [sys.executable, "-m", "examples.audio_mixing"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=BOUND, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "never more than" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info["cmdline"])] == []
