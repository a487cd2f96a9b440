"""The command line of the server: versions, help, usage, spans of time, and what goes wrong in one sentence."""

import os
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import pytest
from jobledger_client.cli import _parse
from jobledger_service.cli import main as cli
from jobledger_service.cli.exit_status import exit_status
from jobledger_service.cli.options import flag
from jobledger_service.settings import SETTINGS, is_span, read_settings, seconds_of, text_of
from typer.testing import CliRunner

from tests.support.bounds import BOUND
from tests.support.server import COMMAND, run_command


@pytest.mark.slow
def test_the_version_is_that_of_the_distribution():
    ended = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, timeout=BOUND, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"jobledger-server {metadata.version('jobledger-service')}\n")


UNNEEDED = {
    "alembic", "fsspec", "httpcore", "psycopg", "pydantic", "sqlalchemy.dialects.postgresql",
    "jobledger_client._sync._client", "jobledger_service.cli.keys",
}  # fmt: skip


@pytest.mark.slow
def test_a_server_imports_only_what_its_start_needs():
    imports = "import sys, jobledger_service.cli.serve, jobledger_service.app; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, timeout=BOUND, check=True)
    imported = set(ended.stdout.split())
    assert "jobledger_service.app" in imported
    assert imported & UNNEEDED == set()


@pytest.mark.parametrize("words", [[], ["serve"], ["keys"], ["keys", "create"], ["health"]])
def test_h_is_help(words: list[str]):
    long, short = (CliRunner().invoke(cli.cli, [*words, option]) for option in ("--help", "-h"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["serve", "--no-such-option"], "No such option: --no-such-option (see jobledger-server serve --help)"),
        (["srve"], "No such command 'srve'"),
        (["backup"], "Missing argument 'file'"),
        (["keys", "create", "x", "--role", "king"], "must be one of caller, worker, admin, owner-admin; got 'king'"),
        (["keys", "create", "x", "--role", "caller", "--expires-in", "soon"], "must be a duration such as 30s"),
        (["health", "--timeout", "soon"], "must be a duration such as 30s, 5m, 2h or 7d; got 'soon'"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_with_2(tmp_path: Path, words: list[str], sentence: str):
    ended = run_command(tmp_path, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("jobledger-server: ")
    assert sentence in line


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1.5h", 5_400),
        ("8", 8),
    ],
)
def test_spans_of_time_are_written_in_one_way_in_both_programs(word: str, seconds: float):
    assert seconds_of(word) == seconds
    assert _parse.duration("--timeout", word) == timedelta(seconds=seconds)
    assert read_settings({"drain_timeout": word}).drain_timeout == seconds
    assert seconds_of(text_of(seconds)) == seconds


@pytest.mark.parametrize("word", ["", "soon", "-1s", "7 days", "1h30m", "nan", "inf", "99999999999d"])
def test_what_is_no_span_of_time_is_refused_by_both_programs(word: str):
    with pytest.raises(ValueError, match=r"must be a span of time|must be at most"):
        seconds_of(word)
    with pytest.raises(Exception, match=r"must be a duration|must be at most"):
        _parse.duration("--timeout", word)


def test_settings_take_spans_as_flags_and_from_the_environment():
    environment = {name: None for name in os.environ if name.startswith("JOBLEDGER_")}
    config = ["config", "--completed-retention", "7d"]
    ended = CliRunner().invoke(cli.cli, config, env=environment | {"JOBLEDGER_DRAIN_TIMEOUT": "1m"})
    rows = {row.split()[0]: row.split()[1:] for row in ended.stdout.splitlines()}
    assert (rows["completed_retention"], rows["drain_timeout"]) == (["604800.0", "flag"], ["60.0", "environment"])
    refused = CliRunner().invoke(cli.cli, ["config", "--drain-timeout", "soon"], env=environment)
    assert refused.exit_code == 78
    assert refused.stderr.startswith("jobledger-server: --drain-timeout: value 'soon' must be a span of time such as")


def test_help_shows_spans_and_choices():
    shown = CliRunner().invoke(cli.cli, ["serve", "--help"]).stdout
    assert "--auth none|keys" in shown
    assert "[default: 7d]" in shown
    spans = [name for name in SETTINGS if is_span(name)]
    assert "event_retention" in spans
    assert all(f"{flag(name)} SPAN" in " ".join(shown.split()) for name in spans)


@pytest.mark.parametrize("listener", ["--listen", "--admin-listen", "--metrics-listen"])
def test_a_port_that_is_taken_is_one_line_and_no_file_is_made(tmp_path: Path, listener: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        others = [] if listener == "--listen" else ["--listen", "127.0.0.1:0"]
        ended = run_command(tmp_path, "serve", *others, listener, place)
    result = f"jobledger-server: {listener}: cannot listen on {place}: another process listens there\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (78, "", result)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_or_written_is_one_sentence(tmp_path: Path):
    os.mknod(tmp_path / "cert", stat.S_IFSOCK)
    requested = ["health", "--target", "127.0.0.1:1", "--ca-file", "cert"]
    ended = run_command(tmp_path, *requested)
    assert (ended.returncode, ended.stderr) == (74, "jobledger-server: cert: No such device or address\n")
    with Path("/dev/full").open("w") as full:
        command = [COMMAND, "config"]
        reported = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (reported.returncode, reported.stderr) == (74, "jobledger-server: No space left on device\n")


def test_a_defect_is_one_sentence_and_its_traceback_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail() -> int:
        raise KeyError("lost")

    assert exit_status(fail) == 70
    hint = "a defect of this command; JOBLEDGER_TRACEBACK=1 in the environment prints the traceback"
    assert capsys.readouterr().err == f"jobledger-server: KeyError: 'lost' ({hint})\n"
    monkeypatch.setenv("JOBLEDGER_TRACEBACK", "1")
    assert exit_status(fail) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_shell_completes_commands_and_choices(tmp_path: Path):
    typed = "jobledger-server serve --log-level d"
    bash = {"_JOBLEDGER_SERVER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "3"}
    assert run_command(tmp_path, **bash).stdout.split() == ["debug"]
