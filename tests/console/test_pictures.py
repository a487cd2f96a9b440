"""The pictures of docs/images. Without --pictures the pages are drawn all the same, and nothing is written."""

import io
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ProgressReport
from jobledger_client import JobClient, for_each, for_kind
from PIL import Image
from playwright.sync_api import Page

from examples.living.population import KINDS, Kind, create_large, create_one
from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.receiver import DELIVERING, receiving

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 300_000
COLOURS = 64
ROUNDS = 14
WORKERS = ("gpu-1", "gpu-2", "cpu-1", "cpu-2")

Take = Callable[[Page, str], None]


@pytest.fixture
def take(request: pytest.FixtureRequest) -> Take:
    """Return a function that writes the picture of a page, where that was asked for."""
    folder: Path | None = request.config.getoption("--pictures", None)

    def write(page: Page, name: str) -> None:
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
        packed = io.BytesIO()
        picture.save(packed, "PNG", optimize=True)
        assert len(packed.getvalue()) < MAX_BYTES
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(packed.getvalue())

    return write


def fill(client: JobClient) -> None:
    """Create jobs of all kinds, and work on them for some rounds."""
    chance = random.Random(7)
    create_large(client)
    for kind in KINDS * 5:
        create_one(client, chance, kind)
    for _ in range(ROUNDS):
        for worker in WORKERS:
            for kind in KINDS:
                work(client, chance, worker, kind)


def work(client: JobClient, chance: random.Random, worker: str, kind: Kind) -> None:
    """Claim some chunks of a kind; complete most of them, let some fail, and leave some in work."""
    for claim in client.leases.claim_chunks([kind.name], worker=worker, max_chunks=4):
        name, content_type = kind.artifact
        cover = Artifact(uri=f"https://storage.example.org/{name}", content_type=content_type, size_bytes=48_000)
        report = ProgressReport(stage=chance.choice(list(kind.stages)), stage_percent=60, job_artifacts={name: cover})
        what = chance.random()
        if what < 0.75:
            client.leases.complete_chunks([ChunkCompletion(lease_token=claim.lease.token, progress=report)])
        elif what < 0.9:
            code, (_, message) = chance.choice(list(kind.failures.items()))
            error = WorkError(code=code, message=message)
            client.leases.fail_chunks([ChunkFailure(lease_token=claim.lease.token, error=error, progress=report)])


def test_pictures(start_server: StartServer, start_console: StartConsole, open_page: OpenPage, take: Take) -> None:
    server = start_server()
    console = start_console(server.target)
    with JobClient(server.target, api_key="") as client:
        fill(client)
    page = open_page(console.address)
    page.get_by_role("link", name="Images of archive.example.org").wait_for()
    take(page, "console-jobs")
    dark = open_page(f"{console.address}/jobs/crawl-of-an-archive", dark=True)
    dark.get_by_role("heading", name="Events").wait_for()
    dark.locator(".bar").first.wait_for()
    dark.set_viewport_size({"width": 1280, "height": 1560})
    take(dark, "console-job")
    page.goto(f"{console.address}/?state=QUEUED")
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("the source was withdrawn")
    take(page, "console-bulk")
    narrow = open_page(f"{console.address}/jobs/crawl-of-an-archive", narrow=True)
    narrow.get_by_role("heading", name="Events").wait_for()
    take(narrow, "console-narrow")


def fill_invoices(client: JobClient) -> None:
    """Create jobs of one chunk; complete most of them, and let the others fail for good."""
    outcomes = ["", "", "", "", "TEMPLATE_BROKEN", "", "PRINTER_OFFLINE", "TEMPLATE_BROKEN"] * 4
    for number, code in enumerate(outcomes):
        client.create_job("invoice.render", display_name=f"Invoice {number + 1_001:,}")
        [claim] = client.leases.claim_chunks(["invoice.render"], worker="cpu-1")
        if code:
            error = WorkError(code=code, stage="render")
            failure = ChunkFailure(lease_token=claim.lease.token, error=error, not_retryable=True)
            client.leases.fail_chunks([failure])
        else:
            client.leases.complete_chunks([claim.lease.token])


def test_pictures_for_operators(
    start_server: StartServer, start_console: StartConsole, open_page: OpenPage, take: Take
) -> None:
    server = start_server(**DELIVERING)
    console = start_console(server.target)
    with JobClient(server.target, api_key="") as client, receiving(503) as url:
        client.webhooks.create_webhook(url, kinds=["report.daily"], description="the newsroom")
        client.limits.set_limit(for_kind("transcode.video"), 3, reason="three GPUs")
        client.limits.set_limit(for_each("team"), 20)
        fill(client)
        fill_invoices(client)
        client.limits.pause_kind("speech.transcribe", "the model is being replaced")
        page = open_page(f"{console.address}/workers")
        page.set_viewport_size({"width": 1280, "height": 520})
        page.get_by_role("row").filter(has_text="gpu-1").wait_for()
        work(client, random.Random(3), "gpu-1", KINDS[0])
        page.get_by_role("link", name="chunk").first.wait_for()
        take(page, "console-workers")
        page.goto(f"{console.address}/limits")
        page.get_by_role("row").filter(has_text="speech.transcribe").wait_for()
        take(page, "console-limits")
        page.goto(f"{console.address}/failures")
        page.get_by_role("button", name="Retry all").first.click()
        page.get_by_role("dialog").get_by_text("selected").wait_for()
        take(page, "console-failures")
        page.goto(f"{console.address}/webhooks")
        page.get_by_role("link", name=url).click()
        page.get_by_role("button", name="Redeliver", exact=True).first.wait_for()
        take(page, "console-webhook")
    dark = open_page(f"{console.address}/statistics", dark=True)
    dark.get_by_role("row").filter(has_text="crawl.images").wait_for()
    dark.locator("canvas").first.wait_for()
    take(dark, "console-statistics")
    narrow = open_page(f"{console.address}/health", narrow=True)
    narrow.get_by_role("heading", name="Database").wait_for()
    take(narrow, "console-health")
