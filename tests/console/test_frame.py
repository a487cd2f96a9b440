"""What every page has: navigation, the session, headers, and the notice that it may be out of date."""

import http.client
import re
from urllib.parse import urlsplit

import pytest
from jobledger_client import JobClient

from tests.conftest import StartServer
from tests.console.conftest import OpenPage, StartConsole
from tests.console.console import Console

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def request(address: str, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    """Send one request, and return the answer with its body read."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.guarantee("3e.14")
def test_text_of_users_is_never_markup(console: Console, client: JobClient, open_page: OpenPage, kind: str) -> None:
    name = "<img src=x onerror=alert(1)> {{ 1+1 }} `${1}` </script>"
    client.create_job(kind, display_name=name)
    page = open_page(f"{console.address}/?kind={kind}")
    page.get_by_role("link", name=name, exact=True).wait_for()
    assert page.locator("main img").count() == 0


def test_every_answer_has_the_headers_of_security(console: Console) -> None:
    for path in ("/", "/sign-in", "/static/console.css", "/nowhere"):
        answer = request(console.address, "GET", path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"script-src[^;]*'unsafe-inline'", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.guarantee("3e.14")
def test_other_hosts_and_other_sites_are_refused(console: Console) -> None:
    netloc = urlsplit(console.address).netloc
    assert request(console.address, "GET", "/sign-in", Host="rebound.example.org").status == 403
    assert request(console.address, "POST", "/sign-out", Origin="https://evil.example.org").status == 403
    assert request(console.address, "POST", "/sign-out").status == 403
    assert request(console.address, "POST", "/sign-out", Origin=f"http://{netloc}").status == 303


@pytest.mark.guarantee("3e.14")
def test_sockets_are_for_pages_of_the_own_session(console: Console, open_page: OpenPage) -> None:
    netloc = urlsplit(console.address).netloc
    page = open_page(console.address)
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    client_id = page.evaluate("window.socket.io.opts.query.client_id")
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    socket = f"/_nicegui_ws/socket.io/?EIO=4&transport=websocket&client_id={client_id}"

    def status(**headers: str) -> int:
        return request(console.address, "GET", socket, **UPGRADE, **headers).status

    assert status(Origin="https://evil.example.org", Cookie=cookie) == 403
    assert status(Cookie=cookie) == 403, "without an origin"
    assert status(Origin=f"http://{netloc}") == 403, "without the session"
    polling = socket.replace("websocket", "polling")
    assert request(console.address, "GET", polling, Origin=f"http://{netloc}", Cookie=cookie).status == 403


@pytest.mark.guarantee("3e.11")
def test_a_page_says_that_it_reconnects_and_recovers(
    start_server: StartServer, start_console: StartConsole, open_page: OpenPage
) -> None:
    server = start_server()
    console = start_console(server.target)
    with JobClient(server.target, api_key="") as client:
        client.create_job("frame.outage", job_id="before")
        page = open_page(console.address)
        page.get_by_role("link", name="before").wait_for()
        server.kill()
        page.get_by_text(re.compile(r"Reconnecting, last heard \d+ s ago")).wait_for()
        assert "stale" in (page.locator(".page-body").get_attribute("class") or "")
        server.start()
        client.create_job("frame.outage", job_id="after")
        page.get_by_role("link", name="after").wait_for()
        page.locator(".notice").wait_for(state="hidden")
        assert "stale" not in (page.locator(".page-body").get_attribute("class") or "")
