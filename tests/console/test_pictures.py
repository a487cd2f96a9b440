"""The pictures of docs/images: `make pictures` writes them."""

import io
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from jobledger_client import JobClient
from PIL import Image
from playwright.sync_api import Page

from examples import processes
from examples.living.population import KINDS, create_large, create_one
from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole

MAX_BYTES = 300_000
COLOURS = 256
FAR = 25.0
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
        create_large(client)
        for kind in KINDS * 5:
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
    page = open_page(address)
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
