"""The pages of statistics and of failures."""

from datetime import timedelta

import pytest
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure
from jobledger_client import JobClient, JobState

from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.console import Console

MARKUP = "<img src=x onerror=alert(1)>"
LEASE = timedelta(minutes=5)


def fail_one(client: JobClient, kind: str, code: str, stage: str = "encode") -> str:
    """Create a job of one chunk and fail it for good; return its id."""
    job_id = client.create_job(kind).job.job_id
    [claimed] = client.leases.claim_chunks([kind], worker="failing", lease_duration=LEASE)
    error = {"code": code, "stage": stage}
    client.leases.fail_chunks([ChunkFailure(lease_token=claimed.lease.token, error=error, not_retryable=True)])
    return job_id


def complete_one(client: JobClient, kind: str, size_bytes: int = 0) -> None:
    client.create_job(kind)
    [claimed] = client.leases.claim_chunks([kind], worker="completing", lease_duration=LEASE)
    artifacts = {"made": {"uri": "s3://b/x", "size_bytes": size_bytes}}
    completion = ChunkCompletion(lease_token=claimed.lease.token, progress={"artifacts": artifacts})
    client.leases.complete_chunks([completion])


def test_statistics_show_what_happened_by_kind(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    complete_one(client, kind)
    complete_one(client, kind, 3 * 1024 * 1024)
    fail_one(client, kind, "DAMAGED")
    client.create_job(kind)
    page = open_page(f"{console.address}/statistics?kind={kind}")
    row = page.get_by_role("row").filter(has_text=kind)
    row.get_by_text("66.7 %").wait_for()
    cells = row.get_by_role("cell").all_inner_texts()
    assert (cells[0], cells[1], cells[3:6], cells[-1]) == (kind, "1", ["0", "2", "1"], "3.0 MiB")
    assert page.get_by_text("3.0 MiB").count() == 2, "in the row, and in the figure of all"
    assert page.get_by_role("img", name="How many jobs ended").locator("canvas").count() == 1
    assert page.get_by_role("img", name="The success of ended jobs").locator("canvas").count() == 1
    page.get_by_role("combobox").select_option("30d")
    page.wait_for_url("**/statistics?span=30d*")
    page.get_by_role("textbox", name="Kind").fill(f"{kind}.none")
    page.get_by_text("Nothing happened").wait_for()


def test_failures_are_grouped_and_retried_together(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    code = "CUDA_OUT_OF_MEMORY"
    failed = [fail_one(client, kind, code), fail_one(client, kind, code, MARKUP)]
    other = fail_one(client, kind, "DAMAGED")
    page = open_page(f"{console.address}/failures?kind={kind}")
    page.get_by_text("3 failed runs, 100.0 %").wait_for()
    rows = page.get_by_role("row").filter(has_text=code)
    assert rows.count() == 2
    assert page.get_by_role("link", name=failed[0]).count() == 1
    assert page.get_by_text(f"in {MARKUP}").count() == 1, "what users wrote is text"
    rows.first.get_by_role("button", name="Retry all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 jobs selected.").wait_for()
    assert [client.get_job(job_id).state for job_id in failed] == [JobState.FAILED] * 2, "it has only counted"
    dialog.get_by_label("Reason").fill("the disk is larger now")
    dialog.get_by_role("button", name="Retry 2 jobs").click()
    dialog.get_by_text("2 applied").wait_for()
    assert [client.get_job(job_id).state for job_id in failed] == [JobState.QUEUED] * 2
    assert client.get_job(other).state == JobState.FAILED


@pytest.mark.guarantee("3e.11")
def test_figures_say_that_they_are_out_of_date(
    start_server: StartServer, start_console: StartConsole, open_page: OpenPage
) -> None:
    server = start_server()
    console = start_console(server.target)
    page = open_page(f"{console.address}/statistics")
    page.get_by_text("Nothing happened").wait_for()
    server.kill()
    page.get_by_text("Reconnecting, last read").wait_for()
    assert "stale" in (page.locator(".page-body").get_attribute("class") or "")
    unread = open_page(f"{console.address}/failures", in_context_of=page)
    unread.get_by_role("heading", name="Not connected").wait_for()
    server.start()
    with JobClient(server.target, api_key="") as client:
        complete_one(client, "figures.outage")
    page.get_by_role("row").filter(has_text="figures.outage").wait_for()
    page.locator(".notice").wait_for(state="hidden")
    unread.get_by_role("button", name="Try again").click()
    unread.get_by_text("Nothing failed").wait_for()
