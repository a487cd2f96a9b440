"""`jobledger-server migrate`, as a Job runs it: its exit statuses are what decides whether it is tried again."""

from pathlib import Path

import pytest
from jobledger_service.cli.exits import CONFIGURATION, UNAVAILABLE
from jobledger_service.cli.main import cli
from typer.testing import CliRunner


def test_it_migrates_once_and_then_has_nothing_to_do(tmp_path: Path):
    database = {"JOBLEDGER_DATABASE": f"sqlite:///{tmp_path}/x.db"}
    result = [
        CliRunner().invoke(cli, ["migrate", *flags], env=database) for flags in (["--check"], [], [], ["--check"])
    ]
    assert [one.exit_code for one in result] == [1, 0, 0, 0]
    assert "run `jobledger-server migrate` first" in result[0].output
    assert "was upgraded to this version" in result[1].output


@pytest.mark.parametrize(
    ("environment", "status", "named"),
    [
        ({"JOBLEDGER_DATABASE": "mysql://host/x"}, CONFIGURATION, "mysql"),
        ({"JOBLEDGER_DATABASE": "postgresql+psycopg://127.0.0.1:1/x"}, UNAVAILABLE, "refused"),
        ({"JOBLEDGER_DATABASE": "sqlite:///x.db", "JOBLEDGER_PROCESSES": "many"}, CONFIGURATION, "--processes: 'many'"),
    ],
)
def test_what_keeps_it_from_its_work_has_a_status_and_a_sentence(environment: dict[str, str], status: int, named: str):
    ended = CliRunner().invoke(cli, ["migrate"], env=environment)
    assert ended.exit_code == status
    assert named in ended.output
