"""The page of one job: live, with its chunks, attempts, events and artifacts."""

from datetime import timedelta

import pytest
from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ProgressReport
from jobledger_client import JobClient, RetryPolicy
from playwright.sync_api import Page, expect

from tests.console.conftest import OpenPage
from tests.console.console import Console

AT_ONCE = RetryPolicy(max_attempts=2, initial_backoff=timedelta(0))


def expect_map(page: Page, says: str) -> None:
    """Wait until the map of chunks says this to people who do not see it."""
    expect(page.locator(".chunk-map canvas")).to_have_attribute("aria-label", f"Map of {says}")


def test_a_job_lives_on_its_page(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    client.create_job(
        kind,
        job_id=kind,
        display_name="A film",
        item_count=40,
        chunk_size=10,
        stages={"fetch": 3, "store": 1},
        retry_policy=AT_ONCE,
    )
    page = open_page(f"{console.address}/jobs/{kind}")
    page.get_by_role("heading", name="A film").wait_for()
    expect_map(page, "4 chunks: 4 pending")
    page.get_by_text("No worker has claimed a chunk yet.").wait_for()

    first, second = client.leases.claim_chunks([kind], worker="worker-a", max_chunks=2)
    error = WorkError(code="HTTP_503", message="<b>busy</b>")
    client.leases.fail_chunks([ChunkFailure(lease_token=first.lease.token, error=error)])
    client.leases.complete_chunks([second.lease.token])
    expect_map(page, "4 chunks: 3 pending, 1 completed")
    expect(page.locator(".bar")).to_have_count(2)
    expect(page.locator(".bar-FAILED title")).to_contain_text("HTTP_503")
    page.get_by_text("chunk 0 failed (attempt 1) · HTTP_503").wait_for()

    [again] = client.leases.claim_chunks([kind], worker="worker-b", max_chunks=1)
    client.leases.fail_chunks([ChunkFailure(lease_token=again.lease.token, error=error)])
    expect_map(page, "4 chunks: 2 pending, 1 completed, 1 failed")
    page.locator(".chunk-map canvas").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 attempts").wait_for()
    expect(dialog).to_contain_text("1. worker-a")
    expect(dialog).to_contain_text("2. worker-b")
    expect(dialog).to_contain_text("<b>busy</b>")


def test_artifacts_are_links_and_https_alone_is_previewed(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    client.create_job(kind, job_id=kind)
    [claim] = client.leases.claim_chunks([kind], worker="w", max_chunks=1)
    found = {
        "cover": Artifact(uri="https://127.0.0.1:9/cover.png", content_type="image/png", size_bytes=2_048),
        "plain": Artifact(uri="http://127.0.0.1:9/cover.png", content_type="image/png"),
        "raw": Artifact(uri="s3://bucket/raw.wav", content_type="audio/wav"),
    }
    client.leases.complete_chunks(
        [ChunkCompletion(lease_token=claim.lease.token, progress=ProgressReport(job_artifacts=found))]
    )
    page = open_page(f"{console.address}/jobs/{kind}")
    cover = page.get_by_role("listitem").filter(has_text="cover")
    expect(cover.get_by_role("link")).to_have_attribute("href", "https://127.0.0.1:9/cover.png")
    expect(cover.get_by_role("link")).to_have_attribute("rel", "noopener noreferrer")
    expect(cover).to_contain_text("2.0 KiB")
    assert page.locator("main img").count() == 0, "nothing is loaded before somebody asks"
    assert page.get_by_text("Preview").count() == 1
    raw = page.get_by_role("listitem").filter(has_text="raw")
    assert raw.get_by_role("link").count() == 0
    expect(raw).to_contain_text("s3://bucket/raw.wav")


def test_a_job_of_many_chunks_has_them_all_in_its_map(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    client.create_job(kind, job_id=kind, item_count=2_500, chunk_size=1)
    claims = client.leases.claim_chunks([kind], worker="w", max_chunks=50)
    client.leases.complete_chunks([one.lease.token for one in claims])
    page = open_page(f"{console.address}/jobs/{kind}")
    left = 2_500 - len(claims)
    expect_map(page, f"2500 chunks: {left} pending, {len(claims)} completed")
    client.cancel_job(kind, reason="seen enough")
    expect_map(page, f"2500 chunks: {len(claims)} completed, {left} cancelled")
    page.get_by_text("Cancelled because").wait_for()

    client.retry_job(kind, reason="again")
    expect_map(page, f"2500 chunks: {left} pending, {len(claims)} completed")


def test_a_missing_job_and_the_commands_of_one(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    page = open_page(f"{console.address}/jobs/{kind}")
    page.get_by_role("alert").get_by_text(f"There is no job '{kind}'.").wait_for()
    client.create_job(kind, job_id=kind)
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("grpcurl", exact=True).click()
    expect(page.locator("pre:visible")).to_contain_text(f"""-d '{{"job_id": "{kind}"}}'""")
    client.delete_job(kind, force=True)
    page.get_by_text("deleted", exact=True).wait_for()


@pytest.mark.guarantee("3d.8")
@pytest.mark.parametrize("verb", ["Cancel", "Retry", "Priority", "Delete"])
def test_a_verb_does_nothing_to_another_job_that_has_the_id_meanwhile(
    console: Console, client: JobClient, open_page: OpenPage, kind: str, verb: str
) -> None:
    client.create_job(kind, job_id=kind, display_name="the first")
    page = open_page(f"{console.address}/jobs/{kind}")
    page.get_by_role("button", name=f"{verb} …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("1 job selected.").wait_for()
    client.delete_job(kind, force=True)
    client.create_job(kind, job_id=kind, display_name="the second")
    if verb in ("Retry", "Delete"):
        client.cancel_job(kind)
    before = client.get_job(kind)
    expect(page.locator("h1")).to_have_text("the second")
    dialog.get_by_role("button", name=f"{verb} 1 job").click()
    dialog.get_by_text("0 applied, 0 unchanged, 1 refused").wait_for()
    assert client.get_job(kind) == before
    dialog.get_by_role("button", name="Close").click()

    page.get_by_role("button", name=f"{verb} …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=f"{verb} 1 job").click()
    dialog.get_by_text("1 applied, 0 unchanged, 0 refused").wait_for()


def test_a_page_shows_the_claimable_chunks_and_the_unique_window(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    window = timedelta(hours=36)
    client.create_job(kind, job_id=kind, item_count=3, chunk_size=1, unique_key=kind, unique_window=window)
    client.leases.claim_chunks([kind], worker="w")
    page = open_page(f"{console.address}/jobs/{kind}")
    expect(page.locator(".facts")).to_contain_text("Unique window")
    page.get_by_role("button", name="Claimable now …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 chunks, the next one first:").wait_for()
    expect(dialog.get_by_role("listitem")).to_have_text(["chunk 1, attempt 1 of 3", "chunk 2, attempt 1 of 3"])
    dialog.get_by_role("button", name="Close").click()
    client.limits.pause_kind(kind)
    page.get_by_role("button", name="Claimable now …").click()
    page.get_by_role("dialog").get_by_text("No chunk may be claimed now.").wait_for()
    client.limits.resume_kind(kind)
