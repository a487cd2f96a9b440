"""The pictures of docs/images. Without --pictures the pages are drawn all the same, and nothing is written."""

import io
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ProgressReport
from jobledger_client import JobClient
from PIL import Image
from playwright.sync_api import Page

from examples.living.population import KINDS, Kind, create_large, create_one
from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole

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
