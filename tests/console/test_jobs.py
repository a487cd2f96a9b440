"""The list of jobs: live, filtered, in an order that the address says, page by page; and verbs over many jobs."""

import re

import pytest
from jobledger_client import JobClient, JobState
from playwright.sync_api import Page, expect

from tests.console.conftest import OpenPage, StartConsole
from tests.console.console import Console
from tests.support.server import Server


def links(page: Page) -> list[str]:
    """Return the texts of the links to jobs, in order."""
    return page.locator("table.data a").all_inner_texts()


def test_a_list_is_live(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    page = open_page(f"{console.address}/?kind={kind}&state=QUEUED,RUNNING")
    page.get_by_text("No job matches").wait_for()
    client.create_job(kind, job_id=f"{kind}-1", item_count=10, chunk_size=5)
    client.create_job(kind, job_id=f"{kind}-2")
    page.get_by_role("link", name=f"{kind}-2").wait_for()
    assert links(page) == [f"{kind}-2", f"{kind}-1"]

    [claim] = client.leases.claim_chunks([kind], worker="w", max_chunks=1)
    row = page.get_by_role("row").filter(has_text=f"{kind}-1")
    expect(row).to_contain_text("running")
    client.leases.complete_chunks([claim.lease.token])
    expect(row).to_contain_text("50.0 %")
    expect(row).to_contain_text("1 / 2")
    client.cancel_job(f"{kind}-2")
    page.get_by_role("link", name=f"{kind}-2").wait_for(state="detached")
    assert links(page) == [f"{kind}-1"]


def test_filters_and_order_are_in_the_address(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    for number, team in enumerate(["search", "media", "search"]):
        client.create_job(
            kind, job_id=f"{kind}-{number}", display_name=f"film {number}", labels={"team": team}, priority=number
        )
    page = open_page(f"{console.address}/?kind={kind}")
    page.get_by_role("link", name="film 2").wait_for()
    page.get_by_label("Label").fill("team=search")
    page.get_by_role("link", name="film 1").wait_for(state="detached")
    page.get_by_label("Order").select_option("lowest priority first")
    page.wait_for_url(re.compile("order=priority_asc"))
    expect(page.locator("table.data a")).to_have_text(["film 0", "film 2"])
    page.get_by_role("button", name="cancelled").click()
    page.get_by_text("No job matches").wait_for()
    assert page.url.endswith(f"/?state=CANCELLED&kind={kind}&label=team%3Dsearch&order=priority_asc")

    page.reload()
    page.get_by_text("No job matches").wait_for()
    expect(page.get_by_role("button", name="cancelled")).to_have_attribute("aria-pressed", "true")
    page.go_back()
    expect(page.locator("table.data a")).to_have_text(["film 0", "film 2"])


def test_pages_follow_one_another(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    for number in range(53):
        client.create_job(kind, job_id=f"{kind}-{number:02}")
    page = open_page(f"{console.address}/?kind={kind}")
    page.get_by_role("link", name=f"{kind}-52").wait_for()
    assert len(links(page)) == 50
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("table.data a")).to_have_text([f"{kind}-02", f"{kind}-01", f"{kind}-00"])
    page.get_by_role("button", name="First page").click()
    page.get_by_role("link", name=f"{kind}-52").wait_for()


def test_a_view_is_saved_in_the_browser(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    client.create_job(kind, job_id=f"{kind}-saved")
    page = open_page(f"{console.address}/?kind={kind}")
    page.get_by_role("link", name=f"{kind}-saved").wait_for()
    page.get_by_role("button", name="Save view").click()
    page.get_by_label("Name of the view").fill("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(console.address)
    page.get_by_label("Saved view").select_option("mine")
    page.wait_for_url(re.compile(f"kind={kind}"))
    page.get_by_role("link", name=f"{kind}-saved").wait_for()


def test_selected_jobs_are_counted_and_then_cancelled(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    for number in range(3):
        client.create_job(kind, job_id=f"{kind}-{number}")
    page = open_page(f"{console.address}/?kind={kind}")
    for number in (0, 1):
        page.get_by_label(f"Select {kind}-{number}").check()
    page.get_by_text("2 jobs selected:").wait_for()
    page.get_by_role("button", name="Cancel …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 jobs selected.").wait_for()
    assert [job.state for job in client.list_jobs(kinds=[kind])] == [JobState.QUEUED] * 3, "a count changes nothing"
    dialog.get_by_label("Reason").fill("not needed any more")
    dialog.get_by_role("button", name="Cancel 2 jobs").click()
    dialog.get_by_text("Completed: 2 applied, 0 unchanged, 0 refused").wait_for()
    dialog.get_by_role("button", name="Close").click()
    jobs = {job.job_id: job for job in client.list_jobs(kinds=[kind])}
    assert jobs[f"{kind}-2"].state == JobState.QUEUED
    for number in (0, 1):
        assert jobs[f"{kind}-{number}"].state == JobState.CANCELLED
        assert jobs[f"{kind}-{number}"].cancel_reason.startswith("not needed any more")


@pytest.mark.guarantee("3d.8")
def test_a_selected_row_means_the_job_that_it_showed(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    for number in range(2):
        client.create_job(kind, job_id=f"{kind}-{number}")
    page = open_page(f"{console.address}/?kind={kind}")
    for number in range(2):
        page.get_by_label(f"Select {kind}-{number}").check()
    page.get_by_role("button", name="Cancel …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 jobs selected.").wait_for()
    client.delete_job(f"{kind}-0", force=True)
    again = client.create_job(kind, job_id=f"{kind}-0").job
    dialog.get_by_role("button", name="Cancel 2 jobs").click()
    dialog.get_by_text(f"1 applied, 0 unchanged, 1 refused. First refusal: {kind}-0").wait_for()
    assert client.get_job(f"{kind}-0") == again
    assert client.get_job(f"{kind}-1").state == JobState.CANCELLED


def test_all_that_match_get_a_priority(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    for number in range(4):
        client.create_job(kind, job_id=f"{kind}-{number}")
    page = open_page(f"{console.address}/")
    page.get_by_text("Select jobs, or filter, to change many at once.").wait_for()
    page.get_by_label("Kind").fill(kind)
    page.get_by_text("All that match:").wait_for()
    page.get_by_role("button", name="Priority …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Priority").select_option("9")
    dialog.get_by_role("button", name="Priority 4 jobs").click()
    dialog.get_by_text("4 applied").wait_for()
    assert {job.priority for job in client.list_jobs(kinds=[kind])} == {9}


def test_read_only_shows_nothing_that_changes(
    server: Server, client: JobClient, start_console: StartConsole, open_page: OpenPage, kind: str
) -> None:
    client.create_job(kind, job_id=f"{kind}-only")
    console = start_console(server.target, "--read-only", "--root-path", "/tools/jobs")
    page = open_page(f"{console.address}/?kind={kind}")
    page.get_by_role("link", name=f"{kind}-only").click()
    page.get_by_role("heading", name="Events").wait_for()
    assert page.url == f"{console.address}/jobs/{kind}-only"
    assert console.address.endswith("/tools/jobs")
    for verb in ("Cancel", "Retry", "Priority", "Delete"):
        assert page.get_by_role("button", name=f"{verb} …").count() == 0
    page.get_by_text("read-only").wait_for()
