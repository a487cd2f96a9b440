"""An example ends by itself, or when it is told to, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.bounds import BOUND

pytestmark = [
    pytest.mark.long,  # whole examples run
    pytest.mark.one_store("the examples see messages, not the store"),
]

ROOT = Path(__file__).parents[2]
INTERRUPTED = 130


def started(name: str, folder: Path) -> "subprocess.Popen[str]":
    """Start an example, whose temporary folder is in `folder`."""
    command = [sys.executable, "-u", "-m", f"examples.{name}"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def left_behind(folder: Path) -> list[object]:
    """Return files and processes that an example has left."""
    processes = [one for one in psutil.process_iter(["cmdline"]) if str(folder) in str(one.info["cmdline"])]
    return [*folder.iterdir(), *processes]


def test_an_example_leaves_nothing_running_and_nothing_on_disk(tmp_path: Path):
    with started("audio_mixing", tmp_path) as example:
        output, errors = example.communicate(timeout=BOUND)
    assert example.returncode == 0, errors
    assert "never more than" in output
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "number", "word"),
    [("transcoding", signal.SIGINT, "transcode_360p"), ("speech_video", signal.SIGTERM, "processing")],
)
def test_an_example_that_is_interrupted_leaves_nothing(tmp_path: Path, name: str, number: signal.Signals, word: str):
    with started(name, tmp_path) as example:
        assert example.stdout is not None
        assert any(word in line for line in example.stdout)
        assert left_behind(tmp_path) != []
        example.send_signal(number)
        output, errors = example.communicate(timeout=BOUND)
    assert (example.returncode, output.rstrip().endswith("stopped")) == (INTERRUPTED, True), errors
    assert "Traceback" not in errors
    assert left_behind(tmp_path) == []
