"""The frame around each page: navigation, theme, sign-out, and the notice that what is shown may be out of date."""

from time import monotonic
from typing import TYPE_CHECKING, Final

from jobledger_client import JobledgerError
from nicegui import ui

from jobledger_console.sign_in import SIGN_OUT
from jobledger_console.wording import sentence_of, spoken

if TYPE_CHECKING:
    from jobledger_console.page import Page, PageKind

THEME_COOKIE: Final = "jobledger_theme"
_THEMES: Final = {"light": False, "dark": True}
_SLOW_READ_SECONDS: Final = 20.0
_TOGGLE: Final = """() => {
  const dark = !document.body.classList.contains('body--dark');
  const theme = dark ? 'dark' : 'light';
  const path = (window.path_prefix || '') + '/';
  document.cookie = `jobledger_theme=${theme}; path=${path}; max-age=31536000; SameSite=Lax`;
  location.reload();
}"""


def element(tag: str, text: str = "", *, classes: str = "", **attributes: str) -> ui.element:
    """Return an HTML element with text; `aria_label` is aria-label. No value is read as markup."""
    made = ui.element(tag)
    if classes:
        made.classes(classes)
    for name, value in attributes.items():
        made.props[name.strip("_").replace("_", "-")] = value
    if text:
        with made:
            ui.label(text).classes("inline")
    return made


def show_frame(page: "Page", kinds: "tuple[PageKind, ...]", theme: str) -> ui.element:
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


def show_loading() -> ui.element:
    """Show that the page is being read."""
    return element("p", "Loading …", classes="quiet loading", role="status")


def _show_link(page: "Page", kind: "PageKind") -> None:
    link = element("a", kind.label, href=page.address(kind.path))
    if kind is page.kind or (kind.path != "/" and page.path.startswith(f"{kind.path}/")):
        link.props["aria-current"] = "page"


def _show_account(page: "Page") -> None:
    with element("div", classes="account"):
        if page.settings.read_only:
            element("span", "read-only", classes="tag", title="The console was started with --read-only.")
        element("span", page.settings.server, classes="quiet server", title="The server")
        toggle = element(
            "button", "◐", classes="plain", type="button", title="Dark or light", aria_label="Dark or light"
        )
        toggle.on("click", js_handler=_TOGGLE)
        if page.access.has_key:
            with element("form", method="post", action=page.address(SIGN_OUT)):
                element("button", "Sign out", classes="plain", type="submit")


def show_notices(page: "Page", seconds: float) -> None:
    """Show, and keep up to date, whether what the page shows may be out of date."""
    notice = element("div", classes="notice", role="status", aria_live="polite")
    with notice:
        text = ui.label("")
    notice.set_visibility(False)
    shown = ""

    def update() -> None:
        nonlocal shown
        sentence = notice_of(page)
        if sentence == shown:
            return
        shown = sentence
        text.set_text(sentence)
        notice.set_visibility(bool(sentence))
        page.body.classes(**{"add" if sentence else "remove": "stale"})

    page.every(seconds, update)


def notice_of(page: "Page") -> str:
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


def notify_error(error: JobledgerError) -> None:
    """Show that a call has failed, until somebody closes it."""
    ui.notification(sentence_of(error), type="negative", close_button="Close", timeout=None, multi_line=True)


def notify(sentence: str) -> None:
    """Show that something was done."""
    ui.notification(sentence, type="info", timeout=6)
