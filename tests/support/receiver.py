"""A receiver of webhooks: a real HTTP server on a thread, which checks every signature and answers as the test says."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.bounds import BOUND


@dataclass(frozen=True)
class Answer:
    """What the receiver says; `after` holds the answer back until it is set."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    after: threading.Event | None = None


@dataclass(frozen=True)
class Received:
    """One request that came, and how it was answered."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    status: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def type(self) -> str:
        return self.body["type"]

    @property
    def job_id(self) -> str:
        return self.body["data"]["jobId"]

    @property
    def position(self) -> int:
        return self.body["position"]

    def verified_by(self, secret: str) -> bool:
        """Tell whether one of the signatures was made with a secret."""
        try:
            Webhook(secret).verify(self.raw, dict(self.headers))
        except WebhookVerificationError:
            return False
        return True


class Receiver:
    """Hands on what comes, in order of arrival. `answer` decides over each request; it is called on another thread."""

    def __init__(self) -> None:
        self.answer: Callable[[Received], Answer] = lambda _: Answer()
        self.received: list[Received] = []
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Received] = asyncio.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                raw = self.rfile.read(length)
                if len(raw) < length:  # its sender was killed in the middle of it
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.answer(Received(self.path, headers, raw, 0))
                receiver.note(Received(self.path, headers, raw, answer.status))
                if answer.after is not None:
                    answer.after.wait(BOUND)
                self.send_response(answer.status)
                for name, value in {"content-length": "0", **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def note(self, received: Received) -> None:
        """Take down a request, on whichever thread."""
        with suppress(RuntimeError):  # the test is over, and its loop closed
            self._loop.call_soon_threadsafe(self._queue.put_nowait, received)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def fail(self, status: int = 500, times: int | None = None, **headers: str) -> None:
        """Answer with a status, always or so many times, and then with 200."""
        left = [times]

        def answer(_: Received) -> Answer:
            if left[0] == 0:
                return Answer()
            left[0] = None if left[0] is None else left[0] - 1
            return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()})

        self.answer = answer

    async def next(self) -> Received:
        """Wait for one more request."""
        async with asyncio.timeout(BOUND):
            one = await self._queue.get()
        self.received.append(one)
        return one

    async def take(self, count: int) -> list[Received]:
        """Wait for so many more requests."""
        return [await self.next() for _ in range(count)]

    async def until(self, last: Callable[[Received], bool]) -> list[Received]:
        """Wait for requests through one that is the last."""
        taken = [await self.next()]
        while not last(taken[-1]):
            taken.append(await self.next())
        return taken

    def waiting(self) -> int:
        """Return how many requests have come that were not taken."""
        return self._queue.qsize()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
