"""A receiver of webhooks that answers with one status."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

DELIVERING = {
    "webhook_allow_http": "true",
    "webhook_allow_private_networks": "true",
    "INITIAL_BACKOFF_SECONDS": "0.01",
    "webhook_retry_window": "0",
}
"""Settings of a server that delivers to this machine, and gives up after one attempt."""


class _Answering(ThreadingHTTPServer):
    status = 200
    daemon_threads = True


@contextmanager
def receiving(status: int) -> Iterator[str]:
    """Answer every event with a status while the context lasts; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = _Answering(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hooks"
    finally:
        server.shutdown()
        server.server_close()
