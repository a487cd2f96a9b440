"""The pictures of docs/images: `make pictures` writes them."""

import io
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.worker_service_pb2 import ChunkFailure
from jobledger_client import JobClient, for_each, for_kind
from PIL import Image
from playwright.sync_api import Page

from examples import processes
from examples.living.population import KINDS, create_large, create_one
from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.receiver import DELIVERING, receiving

MAX_BYTES = 300_000
COLOURS = 256
FAR = 15.0
LARGE = "crawl-of-an-archive"
WORKERS = ("gpu-1", "gpu-2", "cpu-1", "cpu-2")

Take = Callable[[Page, str], None]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """Return where the pictures are written to."""
    chosen: Path | None = request.config.getoption("--pictures", None)
    if chosen is None:
        pytest.skip("pictures are written with --pictures alone")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.fixture
def take(folder: Path) -> Take:
    """Return a function that writes the picture of a page, where that was asked for."""

    def write(page: Page, name: str) -> None:
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
        packed = io.BytesIO()
        picture.save(packed, "PNG", optimize=True)
        assert len(packed.getvalue()) < MAX_BYTES
        (folder / f"{name}.png").write_bytes(packed.getvalue())

    return write


@contextmanager
def working(target: str, percent: float) -> Iterator[None]:
    """Create jobs of all kinds with workers at them; the context begins when the largest is so far."""
    chance = random.Random(7)
    with ExitStack() as stack, JobClient(target, api_key="") as client:
        for kind in KINDS[1:] * 2:
            create_one(client, chance, kind)
        create_large(client)
        for kind in KINDS * 3:
            create_one(client, chance, kind)
        for name in WORKERS:
            stack.enter_context(processes.worker("examples.living.work", target, name))
        for message in client.watch(LARGE):
            if message.job.progress.percent >= percent:
                break
        yield


def test_pictures(start_server: StartServer, start_console: StartConsole, open_page: OpenPage, take: Take) -> None:
    server = start_server()
    console = start_console(server.target)
    with working(server.target, FAR):
        take_all(console.address, open_page, take)


def take_all(address: str, open_page: OpenPage, take: Take) -> None:
    """Take the pictures of the main pages."""
    page = open_page(f"{address}/?order=update_time_desc")
    page.get_by_role("link", name="Images of archive.example.org").wait_for()
    take(page, "console-jobs")
    dark = open_page(f"{address}/jobs/{LARGE}", dark=True)
    dark.get_by_role("heading", name="Events").wait_for()
    dark.locator(".bar").first.wait_for()
    dark.set_viewport_size({"width": 1280, "height": 1560})
    take(dark, "console-job")
    page.goto(f"{address}/?state=QUEUED")
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("the source was withdrawn")
    take(page, "console-bulk")
    narrow = open_page(f"{address}/jobs/{LARGE}", narrow=True)
    narrow.get_by_role("heading", name="Events").wait_for()
    take(narrow, "console-narrow")


def fill(client: JobClient) -> None:
    """Create jobs of one chunk, of which some fail for good, and others of which workers hold chunks."""
    outcomes = ["", "", "", "", "TEMPLATE_BROKEN", "", "PRINTER_OFFLINE", "TEMPLATE_BROKEN"] * 4
    for number, code in enumerate(outcomes):
        client.create_job("invoice.render", display_name=f"Invoice {number + 1_001:,}")
        [claim] = client.leases.claim_chunks(["invoice.render"], worker="cpu-1")
        if code:
            failure = {"error": WorkError(code=code, stage="render"), "not_retryable": True}
            client.leases.fail_chunks([ChunkFailure(lease_token=claim.lease.token, **failure)])
        else:
            client.leases.complete_chunks([claim.lease.token])
    for kind in KINDS * 5:
        create_one(client, random.Random(7), kind)
    for worker in WORKERS:
        for kind in KINDS:
            client.leases.claim_chunks([kind.name], worker=worker, max_chunks=3)


def test_pictures_for_operators(
    start_server: StartServer, start_console: StartConsole, open_page: OpenPage, take: Take
) -> None:
    server = start_server(**DELIVERING)
    console = start_console(server.target)
    with JobClient(server.target, api_key="") as client, receiving(503) as url:
        client.webhooks.create_webhook(url, kinds=["invoice.render"], description="the bookkeepers")
        client.limits.set_limit(for_kind("transcode.video"), 3, reason="three GPUs")
        client.limits.set_limit(for_each("team"), 20)
        fill(client)
        client.limits.pause_kind("speech.transcribe", "the model is being replaced")
        page = open_page(f"{console.address}/workers")
        page.set_viewport_size({"width": 1280, "height": 520})
        page.get_by_role("row").filter(has_text="gpu-1").wait_for()
        for claim in client.leases.claim_chunks(["crawl.images"], worker="gpu-1", max_chunks=3):
            client.leases.complete_chunks([claim.lease.token])
        page.get_by_role("link", name="completed chunk").first.wait_for()
        take(page, "console-workers")
        page.goto(f"{console.address}/limits")
        page.get_by_role("row").filter(has_text="speech.transcribe").wait_for()
        take(page, "console-limits")
        page.goto(f"{console.address}/failures")
        page.get_by_role("button", name="Retry all").first.click()
        page.get_by_role("dialog").get_by_label("Reason").fill("the template is mended")
        take(page, "console-failures")
        page.goto(f"{console.address}/webhooks")
        page.get_by_role("link", name=url).click()
        page.get_by_role("button", name="Redeliver", exact=True).first.wait_for()
        page.set_viewport_size({"width": 1280, "height": 860})
        take(page, "console-webhook")
    dark = open_page(f"{console.address}/statistics", dark=True)
    dark.get_by_role("row").filter(has_text="crawl.images").wait_for()
    dark.locator("canvas").first.wait_for()
    take(dark, "console-statistics")
    narrow = open_page(f"{console.address}/health", narrow=True)
    narrow.get_by_role("heading", name="Database").wait_for()
    take(narrow, "console-health")
