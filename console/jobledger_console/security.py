"""What every request and socket passes first: its host, origin and session; and the headers of every answer."""

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from jobledger_console.sessions import COOKIE, Sessions
from jobledger_console.settings import Settings

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SOCKETS: Final = "/_nicegui_ws/"
_SAFE_METHODS: Final = ("GET", "HEAD")
_REMOVED: Final = (b"x-forwarded-prefix",)
"""Headers of a request that would change the addresses in pages."""
_SCRIPT: Final = b"<script"


class Security:
    """An ASGI application around the console's.

    It accepts requests for a known host alone, so that no name of a foreign page leads here (DNS rebinding); sockets
    and changes from a page of the console alone; and no socket for a page of another session.
    """

    def __init__(self, app: App, settings: Settings, sessions: Sessions) -> None:
        self.app = app
        self._sessions = sessions
        self._root_path = settings.root_path
        self._origins = {origin.lower() for origin in settings.origins}
        self._hosts = {
            "localhost",
            settings.host.lower(),
            *(urlsplit(origin).hostname or "" for origin in self._origins),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a socket, or the start and the end of the server."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = self._move(scope)
        refusal = self._refusal(scope, headers, path)
        if refusal:
            await _refuse(scope, refusal, receive, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, _Answer(send, path).send)
        else:
            await self.app(scope, receive, send)

    def _move(self, scope: Scope) -> str:
        """Put the request below the root path, whether the proxy has removed that or not; return its own path."""
        path: str = scope["path"]
        if self._root_path and (path == self._root_path or path.startswith(f"{self._root_path}/")):
            path = path[len(self._root_path) :] or "/"
        scope["root_path"] = self._root_path
        scope["path"] = self._root_path + path
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name.lower() not in _REMOVED]
        return path

    def _refusal(self, scope: Scope, headers: dict[str, str], path: str) -> str:
        """Return why a request is refused; empty when it is not."""
        host = headers.get("host", "")
        if not self._is_known(host):
            return f"The console does not serve the host {host!r}; --origin names the addresses of browsers."
        is_socket = scope["type"] == "websocket"
        if path.startswith(SOCKETS) and not is_socket:
            return "The console speaks to its pages by WebSocket alone."
        if (is_socket or scope["method"] not in _SAFE_METHODS) and not self._is_own(headers.get("origin", ""), host):
            return "Requests from other sites are refused."
        if is_socket and self._is_foreign_page(scope, headers):
            return "This page is one of another session."
        return ""

    def _is_known(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True  # a foreign page has a name

    def _is_own(self, origin: str, host: str) -> bool:
        return origin.lower() in {f"http://{host}".lower(), f"https://{host}".lower()} | self._origins

    def _is_foreign_page(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Return whether a socket is for a page of another session.

        One for a page that has ended is let through: NiceGUI refuses it, and the browser then loads the page again.
        """
        page = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("client_id", [""])[0]
        owner = self._sessions.owner_of(page)
        return owner is not None and owner is not self._sessions.find(cookie_of(headers.get("cookie", "")))


def cookie_of(header: str) -> str:
    """Return the session's cookie of a Cookie header; empty without one."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


async def _refuse(scope: Scope, reason: str, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": reason})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})


class _Answer:
    """Adds the headers of security to an answer, and the nonce of a page to its scripts.

    NiceGUI escapes each `<` in the content of a page, so all tags here are its own.
    """

    def __init__(self, send: Send, path: str) -> None:
        self._send = send
        self._nonce = secrets.token_urlsafe(16)
        self._is_asset = path.startswith(("/_nicegui/", "/static/"))
        self._start: Message | None = None
        self._page = b""

    async def send(self, message: Message) -> None:
        """Send a part of the answer; a page is sent as a whole."""
        if message["type"] == "http.response.start":
            headers = [*message["headers"], *self._headers(message["headers"])]
            message = {**message, "headers": headers}
            if (b"x-nicegui-content", b"page") in [(name.lower(), value) for name, value in headers]:
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": await self._send_start()}
        await self._send(message)

    async def _send_start(self) -> bytes:
        assert self._start is not None  # noqa: S101 - for mypy
        page = self._page.replace(_SCRIPT, f'{_SCRIPT.decode()} nonce="{self._nonce}"'.encode())
        others = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        length = (b"content-length", str(len(page)).encode())
        await self._send({**self._start, "headers": [*others, length]})
        return page

    def _headers(self, present: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        added = dict(_HEADERS) | {b"content-security-policy": policy(self._nonce).encode()}
        if not self._is_asset:
            added[b"cache-control"] = b"no-store"
        names = {name.lower() for name, _ in present}
        return [(name, value) for name, value in added.items() if name not in names]


_HEADERS: Final = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",  # with "no-referrer" browsers would hide the origin of forms
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def policy(nonce: str) -> str:
    """Return the Content-Security-Policy of an answer: scripts of the console alone, previews by https.

    Vue compiles its templates in the browser, which takes 'unsafe-eval'; elements have style attributes.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "font-src 'self' data:",
            "img-src 'self' data: https:",
            "media-src https:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
