"""`jobledger-server migrate`, as a Job runs it: its exit statuses are what decides whether it is tried again."""

from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.cli.exits import CONFIGURATION, UNAVAILABLE
from jobledger_service.cli.main import cli
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.label_indexes import are_indexed
from jobledger_service.core.database.maintenance.migrate import upgrade
from typer.testing import CliRunner

from tests.store.test_label_indexes import JOBS, populate

INDEXED = "labels are indexed"


def test_it_migrates_once_and_then_has_nothing_to_do(tmp_path: Path):
    database = {"JOBLEDGER_DATABASE": f"sqlite:///{tmp_path}/x.db"}
    result = [
        CliRunner().invoke(cli, ["migrate", *flags], env=database) for flags in (["--check"], [], [], ["--check"])
    ]
    assert [one.exit_code for one in result] == [1, 0, 0, 0]
    assert "run `jobledger-server migrate` first" in result[0].output
    assert "was upgraded to this version" in result[1].output


def test_it_indexes_labels_and_leaves_them_when_none_are_named(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/x.db"
    with closing(open_database(url)) as database:
        upgrade(database)
        populate(database)

    def migrate(*flags: str) -> tuple[int, list[str]]:
        ended = CliRunner().invoke(cli, ["migrate", "--database", url, *flags])
        return ended.exit_code, ended.output.splitlines()

    unchanged = "the schema is up to date"
    wanting = "jobledger-server: labels are not indexed as the settings say: run `jobledger-server migrate` first"
    assert migrate("--check") == (0, [unchanged])
    assert migrate("--check", "--indexed-labels", "team") == (1, [unchanged, wanting])
    assert migrate("--indexed-labels", "team") == (0, [unchanged, f"100 %  {JOBS} of {JOBS} jobs", INDEXED])
    assert migrate("--check", "--indexed-labels", "team") == (0, [unchanged])
    assert migrate() == (0, [unchanged])
    assert migrate("--check", "--indexed-labels", "") == (1, [unchanged, wanting])
    with closing(open_database(url)) as database:
        assert are_indexed(database, ["team"])


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
