"""The pages for those who operate: workers, limits and paused kinds, webhooks, health."""

from datetime import timedelta
from pathlib import Path

import pytest
from jobledger.v1.worker_service_pb2 import ChunkFailure
from jobledger_client import JobClient, Role, WebhookEventType, WebhookState, for_kind

from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.console import Console
from tests.console.receiver import DELIVERING, receiving
from tests.console.test_figures import fail_one
from tests.support.databases import new_database
from tests.support.keys import first_key

MARKUP = "<img src=x onerror=alert(1)>"
LEASE = timedelta(minutes=5)
LEFT_EDGES = "all => all.map(one => one.getBoundingClientRect().left)"
OFF_SCREEN = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth).map(one => one.innerText)"
HIDE = """is => {
  Object.defineProperty(document, "hidden", {value: is, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_workers_show_what_they_hold_and_do(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    name, code = f"{kind}.worker", {"code": "DAMAGED"}
    job_id = client.create_job(kind, display_name=MARKUP, item_count=3, chunk_size=1).job.job_id
    held = client.leases.claim_chunks([kind], worker=name, lease_duration=LEASE)
    page = open_page(f"{console.address}/workers")
    row = page.get_by_role("row").filter(has_text=name)
    row.get_by_role("cell", name="1", exact=True).first.wait_for()
    assert row.get_by_text(kind, exact=True).count() == 1
    client.leases.complete_chunks([held[0].lease.token])
    row.get_by_role("link", name="completed chunk 0").wait_for()
    [again] = client.leases.claim_chunks([kind], worker=name, lease_duration=LEASE)
    client.leases.fail_chunks([ChunkFailure(lease_token=again.lease.token, error=code)])
    row.get_by_role("link", name="failed at chunk 1").wait_for()
    assert row.get_by_role("link").get_attribute("href") == f"/jobs/{job_id}"
    assert row.get_by_text(MARKUP).count() == 1, "what users wrote is text"
    assert page.locator("main img").count() == 0


def test_limits_are_set_changed_and_removed(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    page = open_page(f"{console.address}/limits")
    page.get_by_role("button", name="Set a limit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Kind, or name of the label").fill(kind)
    dialog.get_by_label("Jobs at once").fill("many")
    dialog.get_by_role("button", name="Set").click()
    dialog.get_by_text("Jobs at once must be a number from 0 to 1,000,000; got 'many'.").wait_for()
    dialog.get_by_label("Jobs at once").fill("2")
    dialog.get_by_label("Reason").fill(MARKUP)
    page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has_text=f"kind {kind}")
    row.get_by_text("0 of 2").wait_for()
    row.get_by_text(MARKUP).wait_for()
    dialog.wait_for(state="detached")

    job_ids = [client.create_job(kind).job.job_id for _ in range(3)]
    client.leases.claim_chunks([kind], worker="limited", max_chunks=3, lease_duration=LEASE)
    row.get_by_text("2 of 2").wait_for()
    row.get_by_role("cell", name="1", exact=True).wait_for()  # waits

    row.get_by_role("button", name="Change").click()
    dialog.get_by_label("Jobs at once").fill("1")
    dialog.get_by_role("button", name="Set").click()
    row.get_by_text("2 of 1").wait_for()
    row.get_by_role("button", name="Remove").click()
    dialog.get_by_role("button", name="Remove").click()
    row.wait_for(state="detached")
    assert for_kind(kind) not in [limit.scope for limit in client.limits.list_limits()]
    client.bulk.cancel_jobs(job_ids=job_ids, force=True)


def test_no_button_is_off_a_narrow_screen(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    job_id = fail_one(client, kind, "DAMAGED")
    client.limits.set_limit(for_kind(kind), 2)
    client.limits.pause_kind(kind, "a reason that takes more than one line of a narrow screen")
    page = open_page(f"{console.address}/limits", narrow=True)
    for path, button in (("limits", "Remove"), (f"failures?kind={kind}", "Retry all"), (f"jobs/{job_id}", "Retry")):
        page.goto(f"{console.address}/{path}")
        page.get_by_role("button", name=button).first.wait_for()
        assert page.locator("main button").evaluate_all(OFF_SCREEN) == []
    client.limits.resume_kind(kind)
    client.limits.delete_limit(for_kind(kind))


def test_kinds_are_paused_and_resumed(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    page = open_page(f"{console.address}/limits")
    page.get_by_role("button", name="Pause a kind").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").click()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Pause a kind").click()
    dialog.get_by_role("button", name="Pause").click()
    dialog.get_by_text("The kind must not be empty.").wait_for()
    dialog.get_by_label("Kind").fill("?")
    dialog.get_by_role("button", name="Pause").click()
    dialog.get_by_text("kind").last.wait_for()  # the server's own sentence
    dialog.get_by_label("Kind").fill(kind)
    dialog.get_by_label("Reason").fill(MARKUP)
    dialog.get_by_role("button", name="Pause").click()
    row = page.get_by_role("row").filter(has_text=kind)
    row.get_by_text(MARKUP).wait_for()
    assert [(one.kind, one.reason) for one in client.limits.list_paused_kinds() if one.kind == kind] == [(kind, MARKUP)]
    row.get_by_role("button", name="Resume").click()
    dialog.get_by_role("button", name="Resume").click()
    row.wait_for(state="detached")
    assert kind not in [one.kind for one in client.limits.list_paused_kinds()]


@pytest.mark.guarantee("3e.11")
def test_a_hidden_page_rests_until_it_is_seen(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    hidden = open_page(f"{console.address}/limits")
    shown = open_page(f"{console.address}/limits", in_context_of=hidden)
    for page in (hidden, shown):
        page.get_by_role("heading", name="Paused kinds").wait_for()
    hidden.evaluate(HIDE, True)  # noqa: FBT003 - the argument of a script
    hidden.get_by_role("button", name="Set a limit").click()  # its answer comes after the page was heard
    hidden.get_by_role("dialog").get_by_role("button", name="Close").click()
    client.limits.pause_kind(kind, "rest")
    shown.get_by_role("row").filter(has_text=kind).wait_for()
    assert hidden.get_by_role("row").filter(has_text=kind).count() == 0
    hidden.evaluate(HIDE, False)  # noqa: FBT003
    hidden.get_by_role("row").filter(has_text=kind).wait_for()
    client.limits.resume_kind(kind)


def test_deliveries_are_shown_and_repeated(
    start_server: StartServer, start_console: StartConsole, open_page: OpenPage, kind: str
) -> None:
    server = start_server(**DELIVERING)
    console = start_console(server.target)
    with JobClient(server.target, api_key="") as client, receiving(503) as url:
        created = client.webhooks.create_webhook(
            url, event_types=[WebhookEventType.JOB_CREATED], kinds=[kind], description=MARKUP
        )
        webhook_id = created.webhook.webhook_id
        client.create_job(kind, job_id="first")
        page = open_page(f"{console.address}/webhooks")
        page.get_by_text(MARKUP).wait_for()
        page.get_by_role("link", name=url).click()
        row = page.get_by_role("row").filter(has_text="first")
        row.get_by_text("dead").wait_for()
        assert "answered 503" in row.inner_text()
        assert len(set(page.locator("dl.facts dd .inline").evaluate_all(LEFT_EDGES))) == 1, "values begin below another"
        row.get_by_role("button", name="Redeliver").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Redeliver").click()
        page.get_by_text("The delivery will be repeated.").wait_for()
        page.get_by_role("button", name="Send a test event").click()
        page.get_by_text("The receiver answered 503").wait_for()

        page.get_by_role("button", name="delivered").click()
        page.get_by_text("No deliveries").wait_for()
        page.get_by_role("button", name="delivered").click()
        row.wait_for()
        page.get_by_role("button", name="Disable").click()
        dialog.get_by_role("button", name="Disable").click()
        page.get_by_role("button", name="Enable").wait_for()
        assert client.webhooks.get_webhook(webhook_id).state == WebhookState.DISABLED
        page.get_by_role("button", name="Enable").click()
        dialog.get_by_role("button", name="Enable").click()
        page.get_by_role("button", name="Disable").wait_for()
        assert client.webhooks.get_webhook(webhook_id).state == WebhookState.ACTIVE
        assert page.locator("main img").count() == 0


def test_a_webhook_that_does_not_exist_is_an_error(console: Console, open_page: OpenPage) -> None:
    page = open_page(f"{console.address}/webhooks/01a20637-6728-75e1-81d8-77900b19a70a")
    page.get_by_role("heading", name="Not found").first.wait_for()


def test_health_shows_the_parts_of_a_server(console: Console, open_page: OpenPage) -> None:
    page = open_page(f"{console.address}/health")
    page.get_by_text("healthy").first.wait_for()
    for part in ("Database", "Writes", "Watches", "Workers", "Webhook deliveries"):
        assert page.get_by_role("heading", name=part).count() == 1


class TestWhatAKeyMayNotDo:
    """The pages of a key that is no admin's, and of a console that only reads."""

    @pytest.fixture
    def keys(self, start_server: StartServer, tmp_path: Path) -> tuple[str, str, str]:
        """Return the target of a server with a paused kind and a webhook, a caller's key, and an admin's key."""
        database = new_database("sqlite", tmp_path)
        admin = first_key(database)
        server = start_server(database, auth="keys", webhook_allow_http="true")
        with JobClient(server.target, api_key=admin) as client:
            token = client.admin.create_api_key("caller", owner="alice", roles=[Role.CALLER]).token
            for owner in ("alice", ""):
                client.limits.pause_kind("shown", "for a while", owner=owner)
        for key in (token, admin):
            with JobClient(server.target, api_key=key) as client:
                client.webhooks.create_webhook("http://example.org/hooks")
        return server.target, token, admin

    @pytest.mark.parametrize("who", ["caller", "admin, read-only"])
    def test_is_not_shown(
        self, keys: tuple[str, str, str], start_console: StartConsole, open_page: OpenPage, who: str
    ) -> None:
        target, caller, admin = keys
        console = start_console(target, *(["--read-only"] if who != "caller" else []))
        page = open_page(f"{console.address}/limits")
        page.get_by_label("API key").fill(caller if who == "caller" else admin)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("row").filter(has_text="for a while").wait_for()
        buttons = page.locator("main.content button")
        assert buttons.count() == 0
        assert page.get_by_role("link", name="Health").count() == (0 if who == "caller" else 1)
        page.goto(f"{console.address}/webhooks")
        page.get_by_role("link", name="http://example.org/hooks").click()
        page.get_by_text("job.completed").wait_for()
        assert page.get_by_role("button", name="Disable").count() == (1 if who == "caller" else 0)
        if who == "caller":
            page.goto(f"{console.address}/health")
            page.get_by_role("heading", name="Jobs", exact=True).wait_for()
