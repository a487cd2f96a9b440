"""Opens pages in a frame: navigation, theme, sign-out, and the notice that a page may be out of date."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import ui

from jobledger_console.elements import element, show_loading
from jobledger_console.page import Page, PageKind
from jobledger_console.sessions import COOKIE, Session, Sessions
from jobledger_console.settings import Settings
from jobledger_console.sign_in import SIGN_OUT, sign_in_address
from jobledger_console.wording import sentence_of, spoken

_CONNECT_SECONDS: Final = 60.0
_NOTICE_SECONDS: Final = 1.0
_THEME_COOKIE: Final = "jobledger_theme"
_THEMES: Final = {"light": False, "dark": True}
_SLOW_READ_SECONDS: Final = 20.0
_TOGGLE: Final = """() => {
  const dark = !document.body.classList.contains('body--dark');
  const theme = dark ? 'dark' : 'light';
  const path = (window.path_prefix || '') + '/';
  document.cookie = `jobledger_theme=${theme}; path=${path}; max-age=31536000; SameSite=Lax`;
  location.reload();
}"""


class Pages:
    """Opens pages, each in the frame."""

    def __init__(self, settings: Settings, sessions: Sessions, kinds: tuple[PageKind, ...]) -> None:
        self._settings = settings
        self._sessions = sessions
        self._kinds = kinds

    def register(self) -> None:
        """Let NiceGUI serve the pages."""
        for kind in self._kinds:
            ui.page(kind.path, title=f"{kind.title} · Jobledger")(self._opening(kind))

    def _opening(self, kind: PageKind) -> Callable[[Request], Awaitable[Response | None]]:
        async def open_page(request: Request) -> Response | None:
            session = self._sessions.find(request.cookies.get(COOKIE, ""))
            if session is None or (kind.for_admins and not session.backend.access.is_admin):
                return self._elsewhere(request, session)
            page, client = Page(kind, session, self._settings, request), ui.context.client
            session.pages[client.id] = page.leave
            client.on_delete(page.close)
            content = _show_frame(page, self._kinds, request.cookies.get(_THEME_COOKIE, ""))
            await client.connected(timeout=_CONNECT_SECONDS)
            content.clear()
            with content:
                _show_notices(page, _NOTICE_SECONDS)
            page.spawn(page.run(content))
            return None

        return open_page

    def _elsewhere(self, request: Request, session: Session | None) -> Response:
        if session is not None:
            return RedirectResponse(self._settings.root_path + "/", 303)
        path = request.url.path.removeprefix(self._settings.root_path)
        following = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(sign_in_address(self._settings.root_path, following), 303)


def _show_frame(page: Page, kinds: tuple[PageKind, ...], theme: str) -> ui.element:
    """Draw the frame; return the element for the page itself."""
    if theme in _THEMES:
        ui.dark_mode(_THEMES[theme])
    else:
        ui.dark_mode(None)
    element("a", "Skip to the content", classes="skip", href="#content")
    with element("header", classes="top"):
        with element("a", classes="brand", href=page.address("/")):
            ui.label("Jobledger")
        with element("nav", aria_label="Pages"):
            for kind in kinds:
                if kind.label and (page.access.is_admin or not kind.for_admins):
                    _show_link(page, kind)
        _show_account(page)
    content = element("main", classes="content", id="content", tabindex="-1")
    with content:
        show_loading()
    return content


def _show_link(page: Page, kind: PageKind) -> None:
    link = element("a", kind.label, href=page.address(kind.path))
    if kind is page.kind or (kind.path != "/" and page.path.startswith(f"{kind.path}/")):
        link.props["aria-current"] = "page"


def _show_account(page: Page) -> None:
    with element("div", classes="account"):
        if page.settings.read_only:
            element("span", "read-only", classes="tag", title="The console was started with --read-only.")
        element("span", page.settings.target, classes="quiet server", title="The server")
        toggle = element(
            "button", "◐", classes="plain", type="button", title="Dark or light", aria_label="Dark or light"
        )
        toggle.on("click", js_handler=_TOGGLE)
        if page.access.has_key:
            with element("form", method="post", action=page.address(SIGN_OUT)):
                element("button", "Sign out", classes="plain", type="submit")


def _show_notices(page: Page, seconds: float) -> None:
    """Show whether the page may be out of date, and keep that current."""
    notice = element("div", classes="notice", role="status", aria_live="polite")
    with notice:
        text = ui.label("")
    notice.set_visibility(False)
    shown = ""

    def update() -> None:
        nonlocal shown
        sentence = _notice_of(page)
        if sentence == shown:
            return
        shown = sentence
        text.set_text(sentence)
        notice.set_visibility(bool(sentence))
        page.body.classes(**{"add" if sentence else "remove": "stale"})

    page.every(seconds, update)


def _notice_of(page: Page) -> str:
    """Return why the page may be out of date; empty while it is live."""
    for stream in page.streams:
        notice = stream.notice()
        if notice is not None:
            return f"{notice.sentence[:1].upper()}{notice.sentence[1:]}"
    for read in page.reads:
        age = None if read.read_at is None else monotonic() - read.read_at
        if read.error is not None and age is not None:
            return f"Reconnecting, last read {spoken(age)} ago: {sentence_of(read.error)}"
        if age is not None and age > read.seconds + _SLOW_READ_SECONDS:
            return f"The server is slow, last read {spoken(age)} ago"
    return ""
