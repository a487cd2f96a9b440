"""The commands about keys: on a database, and beside a running server."""

import json
from pathlib import Path

import pytest
from jobledger_service.cli.main import cli
from typer.testing import CliRunner, Result

from tests.access.conftest import Keyed
from tests.support.api import fresh_kind
from tests.support.databases import new_database
from tests.support.keys import first_key


def run(*words: str, status: int = 0, **environment: str) -> Result:
    ended = CliRunner().invoke(cli, ["keys", *words], env=environment)
    assert ended.exit_code == status, ended.output
    return ended


def test_the_whole_life_of_a_key_in_a_database(store: str, tmp_path: Path):
    place = ("--database", new_database(store, tmp_path))
    made = run(
        *place, "create", "a crawler", "--role", "worker", "--role", "caller", "--owner", "x", "--expires-in", "90d"
    )
    token = made.stdout.strip()
    key_id = token.split("_")[1]
    assert made.stderr.strip() == f"{key_id}: a crawler, caller,worker of x; the key is not shown again"
    rotated = run(*place, "rotate", key_id, "--grace", "2h", "--output", "json")
    new = json.loads(rotated.stdout)
    assert (new["replaced"]["keyId"], new["apiKey"]["owner"]) == (key_id, "x")
    assert run(*place, "revoke", key_id).stdout.strip() == f"{key_id} (a crawler): revoked"
    listed = run(*place, "list").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [new["apiKey"]["keyId"]]
    listed = json.loads(run(*place, "list", "--all", "--owner", "x", "--output", "json").stdout)
    assert [key["keyId"] for key in listed["apiKeys"]] == [key_id, new["apiKey"]["keyId"]]
    assert token.rpartition("_")[2] not in json.dumps(listed)


def test_a_key_for_workers_of_many_owners_is_made_and_shown(store: str, tmp_path: Path):
    place = ("--database", new_database(store, tmp_path))
    made = run(*place, "create", "some", "--role", "worker", "--owner", "f", "--serves", "bob", "--serves", "alice")
    assert "worker of f, serves alice,bob" in made.stderr
    run(*place, "create", "every", "--role", "worker", "--owner", "f", "--serves-all")
    header, *listed = run(*place, "list").stdout.splitlines()
    assert header.split()[-1] == "SERVES"
    assert [line.split()[-2:] for line in listed] == [["some", "alice,bob"], ["all", "owners"]]
    assert "WORKER" in run(*place, "create", "x", "--role", "caller", "--serves-all", status=65).stderr


def test_beside_a_running_server_the_server_is_asked(keyed: Keyed, store: str):
    server, owner = keyed.replicas[0], fresh_kind()[-40:]
    if store == "sqlite":
        result = run("--database", server.database, "list", status=78).stderr
        assert "--target" in result
        assert "Traceback" not in result
    place = ("--target", server.target)
    token = run(*place, "create", "one", "--role", "caller", "--owner", owner, JOBLEDGER_API_KEY=keyed.token).stdout
    assert run(*place, "--api-key", keyed.token, "list", "--owner", owner).stdout.count("one") == 1
    assert "role OWNER_ADMIN" in run(*place, "list", status=77, JOBLEDGER_API_KEY=token.strip()).stderr
    assert "API key" in run(*place, "list", status=77, JOBLEDGER_API_KEY="").stderr


@pytest.mark.parametrize(
    ("words", "status", "result"),
    [
        (("create", "x/y", "--role", "admin"), 65, "name"),
        (("create", "x"), 2, "--role"),
        (("list",), 78, "x.db does not exist"),
        (("revoke", "0" * 12), 78, "x.db does not exist"),
        (("--target", "127.0.0.1:1", "list"), 69, "the server is unreachable"),
        (("--database", "mysql://x/y", "list"), 78, "mysql"),
    ],
)
def test_what_cannot_be_done_is_reported_in_a_sentence(
    tmp_path: Path, words: tuple[str, ...], status: int, result: str
):
    ended = run(*words, status=status, JOBLEDGER_DATABASE=f"sqlite:///{tmp_path}/x.db")
    assert result in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_is_no_key_is_reported_in_a_sentence(store: str, tmp_path: Path):
    place = ("--database", new_database(store, tmp_path))
    first_key(place[1])
    assert f"there is no API key '{'0' * 12}'" in run(*place, "revoke", "0" * 12, status=66).stderr
    assert "value 'nonsense' must be the 12" in run(*place, "rotate", "nonsense", status=65).stderr


def test_a_misspelt_setting_makes_no_key_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = run("create", "x", "--role", "admin", status=78, JOBLEDGER_DATABSE="sqlite:///there.db").stderr
    assert "did you mean JOBLEDGER_DATABASE?" in result
    assert list(tmp_path.iterdir()) == []
