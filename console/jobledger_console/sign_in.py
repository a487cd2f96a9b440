"""Signing in with an API key, and out: forms without scripts. The key goes into the session and nowhere else."""

from html import escape
from typing import Final
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jobledger_client import JobledgerError, RoleMissingError, UnauthenticatedError

from jobledger_console.attempts import WrongAttempts
from jobledger_console.backends import Backends
from jobledger_console.sessions import COOKIE, Session, Sessions
from jobledger_console.settings import Settings
from jobledger_console.wording import sentence_of

PATH: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
_MAX_FORM_BYTES: Final = 8_192
_RETRY_SECONDS: Final = 5


class SignIn:
    """The pages that begin and end sessions."""

    def __init__(self, settings: Settings, backends: Backends, sessions: Sessions) -> None:
        self._settings = settings
        self._backends = backends
        self._sessions = sessions
        self._wrong = WrongAttempts()

    def add_to(self, app: FastAPI) -> None:
        """Add the pages to the application."""
        app.add_api_route(PATH, self.show, methods=["GET"], response_model=None)
        app.add_api_route(PATH, self.sign_in, methods=["POST"], response_model=None)
        app.add_api_route(SIGN_OUT, self.sign_out, methods=["POST"], response_model=None)

    async def show(self, request: Request) -> Response:
        """Begin a session without a key where the server needs none; else show the form."""
        following = local_path(request.query_params.get("next", ""))
        try:
            backend = await self._backends.open("")
        except UnauthenticatedError:
            return self._form(following, "")
        except JobledgerError as error:
            return self._unavailable(error)
        return self._begun(request, self._sessions.begin(backend), following)

    async def sign_in(self, request: Request) -> Response:
        """Begin a session with the key of the form. An earlier session of the browser ends."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MAX_FORM_BYTES:
                return Response("The form is too long.\n", 413)
        form = parse_qs(body.decode("latin-1"))
        api_key, following = form.get("key", [""])[0].strip(), local_path(form.get("next", [""])[0])
        if not api_key or not (api_key.isascii() and api_key.isprintable()):
            return self._form(following, "Enter an API key, such as jl_0123456789ab_….")
        client = request.client.host if request.client is not None else ""
        if not self._wrong.begin(client):
            return self._form(following, "Too many wrong keys came from your address: try again in a minute.", 429)
        return await self._open(request, api_key, following, client)

    async def _open(self, request: Request, api_key: str, following: str, client: str) -> Response:
        try:
            backend = await self._backends.open(api_key)
        except RoleMissingError:
            return self._form(
                following,
                "This key may not read jobs: the console needs one with the role CALLER, OWNER_ADMIN or ADMIN.",
            )
        except UnauthenticatedError as error:
            return self._form(following, sentence_of(error))
        except JobledgerError as error:
            return self._unavailable(error)
        self._wrong.succeed(client)
        self._end(request)
        return self._begun(request, self._sessions.begin(backend), following)

    async def sign_out(self, request: Request) -> Response:
        """End the session and its pages."""
        self._end(request)
        await self._backends.close_unused()
        response = RedirectResponse(self._settings.root_path + PATH, 303)
        response.delete_cookie(COOKIE, path=self._settings.root_path or "/")
        return response

    def _end(self, request: Request) -> None:
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        if session is not None:
            self._sessions.end(session)

    def _begun(self, request: Request, session: Session, following: str) -> Response:
        response = RedirectResponse(self._settings.root_path + following, 303)
        is_secure = request.headers.get("origin", "").startswith("https://")
        path = self._settings.root_path or "/"
        response.set_cookie(COOKIE, session.token, path=path, httponly=True, samesite="lax", secure=is_secure)
        return response

    def _form(self, following: str, problem: str, status: int = 401) -> Response:
        alert = f'<p class="message error" role="alert">{escape(problem)}</p>' if problem else ""
        form = f"""<form method="post" action="{escape(self._settings.root_path + PATH)}">
<input type="hidden" name="next" value="{escape(following)}">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" autofocus required spellcheck="false">
<button type="submit">Sign in</button></form>
<p class="quiet">The key stays in the memory of the console until you sign out.
<code>jobledger-server keys create</code> makes one; the role CALLER sees the jobs of its owner,
OWNER_ADMIN also sets its limits and pauses its kinds, ADMIN sees all owners and health.</p>"""
        return self._page("Sign in", alert + form, status if problem else 200)

    def _unavailable(self, error: JobledgerError) -> Response:
        body = f"""<p class="message error" role="alert">{escape(sentence_of(error))}</p>
<p class="quiet">The console tries again every {_RETRY_SECONDS} seconds.</p>"""
        return self._page("Not connected", body, 503, f'<meta http-equiv="refresh" content="{_RETRY_SECONDS}">')

    def _page(self, title: str, body: str, status: int, head: str = "") -> Response:
        root, server = escape(self._settings.root_path), escape(self._settings.target)
        page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} · Jobledger</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
{head}<link rel="stylesheet" href="{root}/static/console.css"></head><body class="plain"><main class="sign-in">
<h1><span class="brand">Jobledger</span> {title}</h1><p class="quiet">Server {server}</p>{body}</main></body></html>"""
        return HTMLResponse(page, status)


def sign_in_address(root_path: str, following: str) -> str:
    """Return the address of the form that leads to a path of the console."""
    return f"{root_path}{PATH}?{urlencode({'next': following})}"


def local_path(path: str) -> str:
    """Return the path if it is one of the console, else that of its first page."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local and not path.startswith((PATH, SIGN_OUT)) else "/"
