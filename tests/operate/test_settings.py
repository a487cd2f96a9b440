"""`jobledger-server config` says what is in force and why; a stray name in the environment ends the start."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from jobledger_service.cli import main as cli
from jobledger_service.cli.configuration import CLIENT_VARIABLES, unknown_names
from jobledger_service.core.database.engines import without_password
from jobledger_service.settings import SETTINGS, InvalidSettingsError, Settings, read_settings
from typer.testing import CliRunner

from tests.docs.documents import ROOT

CONFIGURATION = 78


def config(*arguments: str, **environment: str) -> str:
    """Return what `config` prints, in an environment without other settings."""
    ended = CliRunner().invoke(cli.cli, ["config", *arguments], env=_only(environment))
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def _only(environment: dict[str, str]) -> dict[str, str | None]:
    ours = {name: None for name in os.environ if name.startswith("JOBLEDGER_")}
    return ours | {f"JOBLEDGER_{name}": value for name, value in environment.items()}


def test_each_setting_reports_where_it_comes_from():
    reported = json.loads(config("--bulk-rate", "7", "-o", "json", DRAIN_TIMEOUT="3", BULK_RATE="9"))
    assert set(reported) == set(SETTINGS)
    assert reported["bulk_rate"] == {"value": 7, "source": "flag"}
    assert reported["drain_timeout"] == {"value": 3.0, "source": "environment"}
    assert reported["listen"] == {"value": "127.0.0.1:7070", "source": "default"}


def test_choices_files_and_passwords_are_shown_as_text():
    flags = ("--reflection", "off", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    store = "redis://user:secret@127.0.0.1:6379/0"
    reported = json.loads(config(*flags, "--rate-limit-store", store, "-o", "json"))
    assert reported["reflection"] == {"value": "off", "source": "flag"}
    assert reported["tls_cert"] == {"value": "cert.pem", "source": "flag"}
    assert reported["rate_limit_store"]["value"] == "redis://user:***@127.0.0.1:6379/0"


def test_the_table_has_a_row_for_each_setting():
    rows = [line.split() for line in config().splitlines()[1:]]
    assert [row[0] for row in rows] == list(SETTINGS)
    assert {row[-1] for row in rows} == {"default"}


def test_the_env_form_is_an_environment(tmp_path: Path):
    lines = config("--insecure", "--completed-retention", "60", "-o", "env").splitlines()
    script = tmp_path / "settings.env"
    script.write_text("\n".join(f"export {line}" if not line.startswith("#") else line for line in lines))
    printed = subprocess.run(
        ["sh", "-c", f". {script}; env"], env={}, capture_output=True, text=True, check=True
    ).stdout
    given = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("JOBLEDGER_"))
    again = json.loads(config("-o", "json", **{name.removeprefix("JOBLEDGER_"): one for name, one in given.items()}))
    assert again["insecure"]["value"] is True
    assert again["completed_retention"]["value"] == 60
    assert again["failed_retention"]["value"] is None


@pytest.mark.parametrize("form", ["table", "json", "env"])
def test_passwords_are_masked(form: str):
    reported = config("--output", form, DATABASE="postgresql+psycopg://me:hunter2@db/jobs?sslpassword=hunter3")
    assert "postgresql+psycopg://me:***@db/jobs?sslpassword=***" in reported
    assert "hunter" not in reported


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///here.db", "sqlite:///here.db"),
        ("postgresql://u@h:5432/n", "postgresql://u@h:5432/n"),
        ("mysql://u:p@ss@h/n", "mysql://u:***@h/n"),
        ("postgresql://u@h/n?password=p&port=1", "postgresql://u@h/n?password=***&port=1"),
        ("host=h user=u password = 'p q' port=1", "host=h user=u password =***"),
        ("password=p host=h", "password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str):
    assert without_password(url) == shown


def test_a_misspelt_setting_ends_the_start():
    ended = CliRunner().invoke(cli.cli, ["serve"], env=_only({"DATABSE": "sqlite:///x.db"}))
    assert ended.exit_code == CONFIGURATION
    assert "JOBLEDGER_DATABSE in the environment is not a setting: did you mean JOBLEDGER_DATABASE?" in ended.stderr


def test_all_that_settings_cannot_be_is_said_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JOBLEDGER_WATCHES_PER_KEY", "many")
    monkeypatch.setenv("JOBLEDGER_TRACING", "perhaps")
    given = {"auth": "key", "processes": "65", "access_log": "nan", "webhook_timeout": "10m", "drain_timeout": "-1"}
    with pytest.raises(InvalidSettingsError) as refused:
        read_settings(given | {"database_call_timeout": 0.5, "memory_limit": "1"})
    assert {name: (value, rule) for name, value, rule in refused.value.problems} == {
        "database_call_timeout": (0.5, "must be a span of time, at least 1s"),
        "processes": ("65", "must be a whole number, at least 1, at most 64"),
        "auth": ("key", "must be one of none, keys"),
        "webhook_timeout": ("10m", "must be a span of time, more than 0s, at most 5m"),
        "drain_timeout": ("-1", "value '-1' must be a span of time such as 30s, 5m, 2h or 7d"),
        "watches_per_key": ("many", "must be a whole number, at least 1"),
        "memory_limit": ("1", "must be a whole number, at least 16,777,216"),
        "access_log": ("nan", "must be a number, at least 0, at most 1"),
        "tracing": ("perhaps", "must be true or false"),
    }


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "ON", "t", "y"])
def test_settings_are_read_from_text_and_are_frozen(word: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JOBLEDGER_INSECURE", word)
    given = {"tls_cert": "cert.pem", "watches_per_owner": "7", "access_log": "0.5", "completed_retention": "1m"}
    settings = read_settings(given)
    expected = Settings(
        insecure=True, tls_cert=Path("cert.pem"), watches_per_owner=7, access_log=0.5, completed_retention=60
    )
    assert settings == expected
    with pytest.raises(AttributeError):
        settings.insecure = False  # type: ignore[misc] # what is refused


def test_names_of_clients_and_of_others_are_let_pass():
    assert unknown_names([*CLIENT_VARIABLES, "HOME", "JOBLEDGERS_LIST", "JOBLEDGER_LISTEN", "jobledger_listen"]) == []
    assert unknown_names(["JOBLEDGER_ZZZ"]) == [
        "JOBLEDGER_ZZZ in the environment is not a setting: `jobledger-server config` lists all settings"
    ]


def test_the_names_of_clients_are_those_that_clients_read():
    sources = (ROOT / "client" / "jobledger_client").rglob("*.py")
    assert {name for path in sources for name in re.findall(r"JOBLEDGER_[A-Z_]+", path.read_text())} == CLIENT_VARIABLES
