"""What receivers answer, or do not, and what becomes of it: much of it is the same on every store."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpcore
import pytest
import uvloop
from jobledger_service.features.webhooks.addresses import NameLookups
from jobledger_service.features.webhooks.http_post import CheckedBackend, HttpPost
from jobledger_service.settings import Settings

from tests.conftest import QUICK, StartServer
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server
from tests.webhooks.conftest import CREATED, DELIVERED, LOCAL, At, Hooks
from tests.webhooks.test_addresses import REFUSED

pytestmark = pytest.mark.one_store("what a receiver answers comes before the store")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_kept(hook: Hooks, receiver: Receiver, kind: str, form: str):
    later = datetime.now(UTC) + timedelta(hours=2)
    receiver.fail(429, Retry_After="7200" if form == "seconds" else format_datetime(later, usegmt=True))
    created = await hook.create(receiver, kind, event_types=CREATED)
    await hook.api.create(kind)
    await receiver.next()
    while not (await hook.deliveries(created.webhook.webhook_id))[0].attempts:
        pass
    [delivery] = await hook.deliveries(created.webhook.webhook_id)
    wait = delivery.next_attempt_time.ToDatetime(UTC) - delivery.attempts[0].start_time.ToDatetime(UTC)
    assert timedelta(hours=1, minutes=59) < wait < timedelta(hours=2, minutes=1)

    receiver.fail(times=0)  # one that waits goes at once when it is asked for
    assert await hook.redeliver(created.webhook.webhook_id, delivery_id=delivery.delivery_id) == 1
    assert (await receiver.next()).id == delivery.delivery_id


async def test_a_redirect_is_not_followed(hook: Hooks, receiver: Receiver, kind: str):
    with Receiver() as elsewhere:
        receiver.fail(307, Location=elsewhere.url)
        created = await hook.create(receiver, kind)
        answer = await hook.ping(created.webhook.webhook_id)
        assert not answer.delivered
        assert (answer.attempt.status_code, answer.attempt.error) == (307, "answered 307; redirects are not followed")
        assert elsewhere.waiting() == 0


async def test_a_slow_receiver_is_given_up_on_and_holds_up_no_other(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    settings = {"webhook_timeout": "0.3", "webhook_concurrency": "4", "webhook_endpoint_concurrency": "2"}
    hook: Hooks = at(start_server(**QUICK | LOCAL | settings))
    with Receiver() as slow:
        hold = threading.Event()
        slow.answer = lambda _: Answer(after=hold)
        stuck = await hook.create(slow, kind, event_types=CREATED)
        await hook.create(receiver, kind, event_types=CREATED)
        jobs = [await hook.api.create(kind) for _ in range(8)]
        reported: set[str] = set()
        while len(reported) < 8:  # one may come twice: a machine that stalls is a slow receiver too
            reported.add((await receiver.next()).job_id)
        assert reported == {job.job_id for job in jobs}
        while not (failed := [one for one in await hook.deliveries(stuck.webhook.webhook_id) if one.attempts]):
            pass
        tried = failed[0]
        assert tried.attempts[0].error == "there was no answer within 0.3 s"
        assert not tried.attempts[0].HasField("status_code")
        hold.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{closed}/", "https://127.0.0.1:{receiver}/"])
async def test_a_ping_reports_that_nothing_was_reached(hook: Hooks, receiver: Receiver, url: str):
    with socket.socket() as closed:  # it has a port, and listens to nobody; the receiver does not speak TLS
        closed.bind(("127.0.0.1", 0))
        created = await hook.create_at(url.format(closed=closed.getsockname()[1], receiver=receiver.port))
        answer = await hook.ping(created.webhook.webhook_id)
    assert not answer.delivered
    assert not answer.attempt.HasField("status_code")
    assert answer.attempt.error.startswith("the connection failed: ")


@pytest.mark.parametrize(("private", "result"), [(True, "the host's name cannot be resolved"), (False, REFUSED)])
async def test_a_host_without_an_address_is_reported_unless_that_reveals_a_private_network(private: bool, result: str):
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror

    post = HttpPost(
        Settings(
            webhook_timeout=BOUND,
            webhook_concurrency=1,
            webhook_allow_http=False,
            webhook_allow_private_networks=private,
        ),
        lambda: 0,
        str,
        NameLookups(1, nobody),
    )
    attempt = await post("https://no-such-host.example/", [SECRET], "id", b"{}")
    assert (attempt.status_code, attempt.error) == (None, result)
    await post.close()


def test_a_connection_that_was_reset_is_at_its_end():
    """Under uvloop, as in the server, anyio fails to say so."""

    async def reset() -> tuple[object, object]:
        def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            no_linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            writer.transport.abort()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            connection = await CheckedBackend(NameLookups(1), allow_private=True).connect_tcp("127.0.0.1", port)
            with suppress(httpcore.ReadError):
                assert await connection.read(1) == b""
            return connection.get_extra_info("ssl_object"), connection.get_extra_info("is_readable")

    assert uvloop.run(reset()) == (None, True)


async def test_pings_that_hang_keep_no_delivery_waiting(at: At, tmp_path: Path, receiver: Receiver, kind: str):
    settings = QUICK | LOCAL | {"webhook_concurrency": "1", "webhook_timeout": f"{BOUND:g}"}
    server = Server(new_database("sqlite", tmp_path), tmp_path, settings).start()
    hook, over = at(server), threading.Event()
    created = await hook.create(receiver, kind, event_types=CREATED)
    receiver.answer = lambda one: Answer(after=over if one.type == "webhook.ping" else None)
    ping = asyncio.create_task(hook.ping(created.webhook.webhook_id))
    assert (await receiver.next()).type == "webhook.ping"
    await hook.api.create(kind)
    assert (await receiver.next()).type == "job.created"
    [delivery] = await hook.settled(created.webhook.webhook_id, DELIVERED)
    assert len(delivery.attempts) == 1
    assert not ping.done()
    over.set()
    assert (await ping).attempt.status_code == 200
    assert server.stop() == 0
