"""The receiver of webhooks: takes what is signed, over the body as it came, and takes each event once."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jobledger_client import WebhookEventType
from standardwebhooks import Webhook, WebhookVerificationError

EVENTS = [WebhookEventType.JOB_COMPLETED, WebhookEventType.JOB_FAILED, WebhookEventType.JOB_PROGRESS]
PERCENTS = [25, 50, 75]


class Inbox:
    """What was received: `attempts` are all requests that were signed, `events` are by the name of their delivery."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.secret = ""
        self.outages = 0
        """How many deliveries to turn away, as a receiver does that is being restarted."""
        self.attempts: list[tuple[Mapping[str, str], bytes]] = []
        self.events: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take a delivery; return the HTTP status to answer with."""
        with self._changed:
            try:
                Webhook(self.secret).verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError):
                return 401
            self.attempts.append((headers, body))
            if self.outages:
                self.outages -= 1
                return 503
            self.events.setdefault(headers["webhook-id"], json.loads(body))  # it may come twice
            self._changed.notify_all()
            return 204

    def of(self, job_id: str) -> list[str]:
        """Return the types of a job's events, in their order."""
        return [event["type"] for event in self.events.values() if event["data"]["jobId"] == job_id]

    def wait(self, job_id: str, kind: str, timeout: float) -> dict[str, Any]:
        """Return the event of this type of a job as soon as it has come. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: kind in self.of(job_id), timeout):
                raise TimeoutError(f"no {kind} of {job_id} within {timeout} s")
            return next(e for e in self.events.values() if (e["type"], e["data"]["jobId"]) == (kind, job_id))


@contextmanager
def receiving() -> Iterator[Inbox]:
    """Listen while it is needed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a delivery."""
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(inbox.take({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  its name there
            """Say nothing."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox = Inbox(f"http://127.0.0.1:{web.server_port}/hooks")
    serving = threading.Thread(target=web.serve_forever)
    serving.start()
    try:
        yield inbox
    finally:
        web.shutdown()
        serving.join()
        web.server_close()
