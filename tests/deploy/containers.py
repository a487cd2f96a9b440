"""What containers are started with, as the server reads it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from jobledger_service.cli.main import cli
from typer.testing import CliRunner

DEPLOY = Path(__file__).parents[2] / "deploy"


def read_settings(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that come of a command line of `serve` and of variables; both must be right."""
    assert command[0] == "serve"
    reported = CliRunner().invoke(cli, ["config", *command[1:], "--output", "json"], env=dict(environment))
    assert reported.exit_code == 0, reported.output
    return {name: one["value"] for name, one in json.loads(reported.output).items()}


def console_settings(monkeypatch: pytest.MonkeyPatch, command: Sequence[str]) -> Any:
    """Return the settings that come of a command line of `jobledger-console`; skip the test without it."""
    console = pytest.importorskip("jobledger_console.cli", reason="the console is not installed")
    read: list[Any] = []
    monkeypatch.setattr(console, "_serve", read.append)
    assert console.run(command) == 0
    return read[0]
