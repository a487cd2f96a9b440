"""The command: its options, its errors, and its end."""

import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.console.console import COMMAND, Console
from tests.support.bounds import BOUND
from tests.support.server import without_settings


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [COMMAND, *words], check=False, capture_output=True, text=True, timeout=BOUND, env=without_settings()
    )


def test_help_and_version() -> None:
    for flag in ("-h", "--help"):
        shown = run(flag)
        assert shown.returncode == 0
        assert "--read-only" in shown.stdout
    version = run("--version")
    assert re.fullmatch(r"jobledger-console \d+\.\d+\.\d+\n", version.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "8080"), "--listen: must be HOST:PORT, such as 127.0.0.1:8080; got '8080'"),
        (("--target", "nowhere"), "--target: must be HOST:PORT"),
        (("--session-timeout", "soon"), "must be a duration such as 30s, 5m, 2h or 7d; got 'soon'"),
        (("--session-timeout", "0"), "must be above 0"),
        (("--root-path", "jobs"), "--root-path: must be a path such as /jobledger"),
        (("--origin", "jobs.example.org"), "--origin: must be an address without a path"),
        (("--colour",), "No such option"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exits_2(words: tuple[str, ...], said: str) -> None:
    failed = run(*words)
    assert failed.returncode == 2
    assert said in failed.stderr
    assert failed.stderr.startswith("jobledger-console: ")
    assert failed.stderr.count("\n") == 1


def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = run("--listen", f"127.0.0.1:{port}")
    assert failed.returncode == 78
    assert failed.stderr == f"jobledger-console: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_and_needs_no_server_to_start(number: signal.Signals, tmp_path: Path) -> None:
    console = Console("127.0.0.1:9", tmp_path / "console.log").start()
    assert console.stop(number) == 0
    assert console.logged() == ""
