"""Where deliveries go: not to addresses that are not public, whatever name or notation leads there."""

import socket
from typing import Any

import pytest
from jobledger_service.features.webhooks.addresses import NameLookups, is_public
from jobledger_service.features.webhooks.http_post import HttpPost
from jobledger_service.settings import Settings

from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.errors import invalid
from tests.support.receiver import Receiver
from tests.webhooks.conftest import Hooks

pytestmark = pytest.mark.one_store("addresses are checked before anything is posted, whatever the store")

REFUSED = "the host has no public address: deliveries are made to public addresses only"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

HOSTS = [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "0.0.0.0", "0",  # noqa: S104 - it is refused
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "192.0.2.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
    "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a00:1]",
    "[2002:7f00:1::]", "[2002:808:808::1]", "[64:ff9b:1::1]", "[5f00::1]", "[100::1]", "[3fff::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
]  # fmt: skip

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


async def test_no_notation_leads_to_an_address_that_is_not_public(api: Api, receiver: Receiver):
    hook = Hooks(api)  # of a server with the settings that it has by itself
    webhook_id = (await hook.create_at("https://example.org/")).webhook.webhook_id
    for host in HOSTS:
        await hook.update(webhook_id, "url", url=f"https://{host}:{receiver.port}/")
        answer = await hook.ping(webhook_id)
        assert (answer.delivered, answer.attempt.error) == (False, REFUSED), host
    assert receiver.waiting() == 0
    await hook.delete(webhook_id)


def test_public_addresses_are_distinguished_from_others():
    assert [address for address in PUBLIC if not is_public(address)] == []


@pytest.mark.parametrize("then", ["127.0.0.1", "10.0.0.1"])
async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(receiver: Receiver, then: str):
    """A name that changes its address after the check leads nowhere else: nobody asks for it again."""
    requested: list[str] = []

    def rebinding(host: str, port: int, **rest: Any) -> Any:
        requested.append(host)
        return socket.getaddrinfo(then if len(requested) > 1 else "127.0.0.1", port, **rest)

    lookups = NameLookups(1, rebinding)
    post = HttpPost(
        Settings(
            webhook_timeout=BOUND, webhook_concurrency=1, webhook_allow_http=True, webhook_allow_private_networks=True
        ),
        lambda: 1_700_000_000_000_000,
        str,
        lookups,
    )
    attempt = await post(f"http://rebinding.example:{receiver.port}/", [SECRET], "id", b"{}")
    assert attempt.status_code == 200
    assert requested == ["rebinding.example"]
    assert (await receiver.next()).headers["host"] == f"rebinding.example:{receiver.port}"
    await post.close()


async def test_a_name_with_one_private_address_is_refused(receiver: Receiver):
    def both(_host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("1.1.1.1", "10.0.0.1")]

    post = HttpPost(
        Settings(
            webhook_timeout=BOUND, webhook_concurrency=1, webhook_allow_http=True, webhook_allow_private_networks=False
        ),
        lambda: 0,
        str,
        NameLookups(1, both),
    )
    attempt = await post("https://split.example/", [SECRET], "id", b"{}")
    assert (attempt.status_code, attempt.error) == (None, REFUSED)
    await post.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hooks",
        "//example.org/hooks",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org:6379/_FLUSHALL",
        "unix:///var/run/docker.sock",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://user:password@example.org/",
        "https://example.org@10.0.0.1/",
        "https://example.org/#fragment",
        "https://example.org/a b",
        "https://example.org/\r\nHost: evil",
        "https://example.org\\@10.0.0.1/",
        "https://exämple.org/",
        "https://example.org:22/",
        "https://example.org:25/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:port/",
        "https://[::1/",
        "https://exa%6dple.org/",
        "https://" + "x" * 2_048,
    ],
)
async def test_a_url_of_the_wrong_form_is_refused_at_once(hook: Hooks, url: str):
    with invalid("url"):
        await hook.create_at(url)


async def test_http_is_for_those_whose_operator_allows_it(api: Api, receiver: Receiver):
    with invalid("url"):
        await Hooks(api).create_at(receiver.url)
    post = HttpPost(
        Settings(
            webhook_timeout=BOUND, webhook_concurrency=1, webhook_allow_http=False, webhook_allow_private_networks=True
        ),
        lambda: 0,
        str,
        NameLookups(1),
    )
    attempt = await post(receiver.url, [SECRET], "id", b"{}")  # of a time when it was allowed
    assert (attempt.status_code, attempt.error) == (None, "http is not allowed here")
    assert receiver.waiting() == 0
    await post.close()
