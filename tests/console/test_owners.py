"""Pages of another owner: for administrators alone, and never with what is somebody else's."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from jobledger_client import JobClient, JobState, Role, for_kind
from playwright.sync_api import Page

from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.test_figures import fail_one
from tests.support.databases import new_database
from tests.support.keys import first_key

KIND = "owners.kind"


class Owned:
    """A console over a server with an admin, and with alice, who has a failed job and a limit as the admin has."""

    def __init__(self, address: str, admin: JobClient, alice: JobClient, keys: dict[str, str]) -> None:
        self.address = address
        self.admin = admin
        self.alice = alice
        self._keys = keys
        self.failed = fail_one(alice, KIND, "DAMAGED")
        admin.limits.set_limit(for_kind(KIND), 5)
        admin.limits.set_limit(for_kind(KIND), 2, owner="alice")

    def sign_in(self, page: Page, name: str) -> None:
        page.get_by_label("API key").fill(self._keys[name])
        page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def owned(start_server: StartServer, start_console: StartConsole, tmp_path: Path) -> Iterator[Owned]:
    database = new_database("sqlite", tmp_path)
    keys = {"admin": first_key(database)}
    server = start_server(database, auth="keys")
    with JobClient(server.target, api_key=keys["admin"]) as admin:
        for owner in ("alice", "bob"):
            created = admin.admin.create_api_key(owner, owner=owner, roles=[Role.CALLER, Role.WORKER])
            keys[owner] = created.token
        with JobClient(server.target, api_key=keys["alice"]) as alice:
            yield Owned(start_console(server.target).address, admin, alice, keys)


@pytest.mark.guarantee("3e.15")
def test_an_admin_sees_and_changes_the_limits_of_the_owner_that_is_named(owned: Owned, open_page: OpenPage) -> None:
    page = open_page(f"{owned.address}/limits")
    owned.sign_in(page, "admin")
    row = page.get_by_role("row").filter(has_text=f"kind {KIND}")
    row.get_by_text("0 of 5").wait_for()
    own = open_page(f"{owned.address}/limits", in_context_of=page)
    page.get_by_label("Owner").fill("alice")
    row.get_by_text("0 of 2").wait_for()
    assert urlsplit(page.url).query == "owner=alice"
    row.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name=f"Remove the limit of kind {KIND}, of owner alice").wait_for()
    dialog.get_by_role("button", name="Remove").click()
    page.get_by_text("No limits").wait_for()
    assert owned.alice.limits.list_limits() == []
    assert [limit.max_running for limit in owned.admin.limits.list_limits()] == [5]
    own.get_by_role("row").filter(has_text=f"kind {KIND}").get_by_text("0 of 5").wait_for()

    page.get_by_label("Owner").fill("no owner")
    page.get_by_role("heading", name="The server refused this").wait_for()
    assert not page.get_by_text("No limits").is_visible(), "what another owner has is not under this name"
    page.get_by_label("Owner").fill("")
    row.get_by_text("0 of 5").wait_for()


@pytest.mark.guarantee("3e.15")
def test_figures_and_failures_are_those_of_the_owner_that_is_named(owned: Owned, open_page: OpenPage) -> None:
    page = open_page(f"{owned.address}/statistics?owner=alice")
    owned.sign_in(page, "admin")
    link = page.get_by_role("row").filter(has_text=KIND).get_by_role("link")
    assert urlsplit(link.get_attribute("href") or "").query == f"kind={KIND}&owner=alice"
    page.goto(f"{owned.address}/failures")
    page.get_by_text("Nothing failed").wait_for()
    page.get_by_label("Owner").fill("alice")
    page.get_by_text("1 failed run,").wait_for()
    page.get_by_role("combobox").select_option("7d")
    page.wait_for_url("**/failures?owner=alice&span=7d")
    page.get_by_role("button", name="Retry all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Retry 1 job").click()
    dialog.get_by_text("1 applied").wait_for()
    assert owned.alice.get_job(owned.failed).state == JobState.QUEUED


@pytest.mark.guarantee("3e.15")
def test_nobody_else_sees_another_owner(owned: Owned, open_page: OpenPage) -> None:
    page = open_page(f"{owned.address}/statistics")
    owned.sign_in(page, "bob")
    page.get_by_text("Nothing happened").wait_for()
    assert page.get_by_label("Owner").count() == 0
    for path in ("limits", "statistics", "failures"):
        page.goto(f"{owned.address}/{path}?owner=alice")
        page.get_by_role("heading", name="Not permitted").wait_for()
        assert page.get_by_role("row").filter(has_text=KIND).count() == 0
