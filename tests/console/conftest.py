"""The fixtures of the console's tests: a console over the shared server, a browser, and its pages."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobledger_client import JobClient

from tests.console.console import Console
from tests.support.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

StartConsole = Callable[..., Console]
OpenPage = Callable[..., "Page"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE = {"width": 1280, "height": 860}
NARROW = {"width": 420, "height": 860}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --pictures."""
    parser.addoption("--pictures", type=Path, metavar="FOLDER", help="write pictures of the console's pages to it")


@pytest.fixture(scope="session")
def console(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Return the console that the tests share."""
    shared = Console(server.target, tmp_path_factory.mktemp("console") / "console.log").start()
    yield shared
    assert shared.stop() == 0
    assert shared.logged() == "", "the console logged what should never happen"


@pytest.fixture
def start_console(tmp_path: Path) -> Iterator[StartConsole]:
    """Return a function that starts a console of the test's own over a server."""
    started: list[Console] = []

    def start(target: str, *options: str) -> Console:
        started.append(Console(target, tmp_path / f"console-{len(started)}.log", *options))
        return started[-1].start()

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Return the browser, headless."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="`make test-console` installs playwright")
    with api.sync_playwright() as playwright:
        api.expect.set_options(timeout=30_000)
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """Return a function that opens an address in a browser of its own, without cookies.

    No page may write an error to the browser's console: neither of a script nor of the Content-Security-Policy.
    """
    problems: list[str] = []
    contexts = []

    def hear(message: "ConsoleMessage") -> None:
        if message.type == "error" and "401 (Unauthorized)" not in message.text:  # what a wrong key is answered with
            problems.append(message.text)

    def open_one(
        address: str, *, dark: bool = False, narrow: bool = False, in_context_of: "Page | None" = None
    ) -> "Page":
        if in_context_of is None:
            scheme = "dark" if dark else "light"
            contexts.append(browser.new_context(viewport=NARROW if narrow else WIDE, color_scheme=scheme))
        page = in_context_of.context.new_page() if in_context_of is not None else contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", hear)
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == [], "the browser's console has errors"


@pytest.fixture
def client(server: Server) -> Iterator[JobClient]:
    """Return a client of the shared server."""
    with JobClient(server.target, api_key="") as opened:
        yield opened
