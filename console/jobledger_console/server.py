"""The whole assembly: settings → backends → sessions → pages → a server on a port."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI
from nicegui import app, ui
from starlette.middleware.gzip import GZipMiddleware

from jobledger_console import __version__
from jobledger_console.backends import Backends
from jobledger_console.frame import Pages
from jobledger_console.pages import KINDS
from jobledger_console.security import Security
from jobledger_console.sessions import Sessions
from jobledger_console.settings import Settings
from jobledger_console.sign_in import SignIn

_STATIC: Final = Path(__file__).parent / "static"
_DRAIN_SECONDS: Final = 2
_RECONNECT_SECONDS: Final = 8.0
"""How long a page keeps its watches while its browser is disconnected."""
_SWEEP_SECONDS: Final = 60.0


class CannotListenError(OSError):
    """The address cannot be listened on; the message says why."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises CannotListenError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        raise CannotListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listening


def serve(settings: Settings, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. `ready` gets the address of the console."""
    logging.getLogger("nicegui").setLevel(logging.ERROR)  # its warnings name addresses, with what people search for
    backends = Backends(settings)
    sessions = Sessions(settings.session_timeout)
    application = FastAPI(title="jobledger-console", docs_url=None, redoc_url=None, openapi_url=None)
    SignIn(settings, backends, sessions).add_to(application)
    Pages(settings, sessions, KINDS).register()
    _configure(settings, application)
    app.timer(_SWEEP_SECONDS, sessions.end_unused)
    app.on_startup(lambda: ready(_address(settings, listening)))
    app.on_shutdown(backends.close)
    secured = GZipMiddleware(Security(application, settings, sessions))
    config = uvicorn.Config(
        secured,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    asyncio.run(_Server(config).serve(sockets=[listening]))


def _configure(settings: Settings, application: FastAPI) -> None:
    app.add_static_files("/static", _STATIC)
    app.config.socket_io_js_transports = ["websocket"]
    sheet = f"{settings.root_path}/static/console.css?{__version__}"
    ui.add_head_html(f'<link rel="stylesheet" href="{sheet}">', shared=True)
    ui.run_with(
        application,
        title="Jobledger",
        dark=None,
        language="en-US",
        tailwind=False,
        gzip_middleware_factory=None,
        show_welcome_message=False,
        reconnect_timeout=_RECONNECT_SECONDS,
        favicon=_STATIC / "favicon.svg",
    )


def _address(settings: Settings, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{settings.root_path}/"


class _Server(uvicorn.Server):
    """A server that ends in order at a signal; uvicorn's own would end the process by it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True
