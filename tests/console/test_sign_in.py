"""People sign in with an API key, which is in the memory of the console and nowhere else."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from jobledger_client import JobClient, Role
from jobledger_console.attempts import MAX_A_MINUTE, WrongAttempts

from tests.console.conftest import OpenPage, StartConsole
from tests.console.console import Console
from tests.support.databases import new_database
from tests.support.keys import first_key
from tests.support.server import Server


class Keyed:
    """A server with keys, a console over it, and the keys."""

    def __init__(self, folder: Path) -> None:
        database = new_database("sqlite", folder)
        self.admin = first_key(database)
        self.server = Server(database, folder, {"auth": "keys"}).start()
        self.log = folder / "console.log"
        self.console = Console(self.server.target, self.log).start()
        with JobClient(self.server.target, api_key=self.admin) as client:
            self.caller = client.admin.create_api_key("caller", owner="alice", roles=[Role.CALLER]).token
            self.worker = client.admin.create_api_key("worker", owner="alice", roles=[Role.WORKER]).token


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    started = Keyed(tmp_path_factory.mktemp("keyed"))
    yield started
    assert started.console.stop() == 0
    assert started.server.stop() == 0


def post(address: str, path: str, form: dict[str, str], **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request("POST", path, urlencode(form), {"Origin": address, **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.guarantee("3e.13")
def test_a_key_opens_its_owners_jobs_and_signing_out_closes_them(keyed: Keyed, open_page: OpenPage) -> None:
    with JobClient(keyed.server.target, api_key=keyed.caller) as client:
        client.create_job("keys.one", job_id="alices-job")
    page = open_page(f"{keyed.console.address}/?kind=keys.one")
    page.get_by_label("API key").fill(keyed.caller)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="alices-job").wait_for()
    assert urlsplit(page.url).query == "kind=keys.one"
    assert page.get_by_label("Owner").count() == 0, "only an admin names other owners"

    kept = (
        page.content() + str(page.context.cookies()) + page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    )
    assert keyed.caller not in kept
    [cookie] = [one for one in page.context.cookies() if one["name"] == "jobledger_console"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"

    other = open_page(keyed.console.address, in_context_of=page)
    other.get_by_role("link", name="alices-job").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    other.get_by_label("API key").wait_for()
    assert keyed.caller not in keyed.log.read_text()


def test_an_admin_names_other_owners(keyed: Keyed, open_page: OpenPage) -> None:
    with JobClient(keyed.server.target, api_key=keyed.caller) as client:
        client.create_job("keys.two", job_id="seen-by-an-admin")
    page = open_page(f"{keyed.console.address}/")
    page.get_by_label("API key").fill(keyed.admin)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Owner").fill("alice")
    page.get_by_role("link", name="seen-by-an-admin").click()
    page.get_by_role("heading", name="seen-by-an-admin").wait_for()
    assert urlsplit(page.url).query == "owner=alice"


@pytest.mark.parametrize("key", ["jl_0123456789ab_" + "0" * 64, "nonsense", ""])
def test_a_wrong_key_is_refused(keyed: Keyed, key: str) -> None:
    answer = post(keyed.console.address, "/sign-in", {"key": key, "next": "/"})
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_a_workers_key_is_refused_with_the_roles_that_are_not(keyed: Keyed, open_page: OpenPage) -> None:
    page = open_page(f"{keyed.console.address}/sign-in")
    page.get_by_label("API key").fill(keyed.worker)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("the console needs one with the role CALLER, OWNER_ADMIN or ADMIN").wait_for()


@pytest.mark.guarantee("3e.14")
def test_a_form_of_another_site_signs_nobody_in(keyed: Keyed) -> None:
    for origin in ("https://evil.example.org", "null", ""):
        assert post(keyed.console.address, "/sign-in", {"key": keyed.caller}, Origin=origin).status == 403


@pytest.mark.guarantee("3e.16")
def test_wrong_keys_of_one_address_are_bounded_in_a_minute() -> None:
    now = 0.0
    wrong = WrongAttempts(clock=lambda: now)
    assert [wrong.begin("10.0.0.1") for _ in range(MAX_A_MINUTE + 1)] == [True] * MAX_A_MINUTE + [False]
    assert wrong.begin("10.0.0.2")
    wrong.succeed("10.0.0.1")
    assert [wrong.begin("10.0.0.1") for _ in range(2)] == [True, False]
    now = 60.0
    assert wrong.begin("10.0.0.1")


@pytest.mark.guarantee("3e.16")
def test_the_form_refuses_further_keys_after_many_wrong_ones(keyed: Keyed, start_console: StartConsole) -> None:
    console = start_console(keyed.server.target)
    statuses = [post(console.address, "/sign-in", {"key": "nonsense"}).status for _ in range(MAX_A_MINUTE)]
    assert set(statuses) == {401}
    while post(console.address, "/sign-in", {"key": "nonsense"}).status != 429:  # another minute may have begun
        pass
