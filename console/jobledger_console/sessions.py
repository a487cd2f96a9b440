"""Who is signed in. A session, and the API key of it, is in the memory of this process alone."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Final

from jobledger_console.backends import Backend

COOKIE: Final = "jobledger_console"
MAX_SESSIONS: Final = 1_000
_TOKEN_BYTES: Final = 32

EndPage = Callable[[], None]


class Session:
    """A browser that is signed in, or a visitor of a server without keys, and its open pages."""

    def __init__(self, backend: Backend, now: float) -> None:
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.backend = backend
        self.pages: dict[str, EndPage] = {}
        """What ends each open page, by the id of its client."""
        self.last_used = now


class Sessions:
    """The sessions by the token in their cookies. One without open pages ends when it was not used for `timeout`."""

    def __init__(self, timeout: timedelta, clock: Callable[[], float] = monotonic) -> None:
        self._timeout = timeout.total_seconds()
        self._clock = clock
        self._by_token: dict[str, Session] = {}

    def begin(self, backend: Backend) -> Session:
        """Begin a session. At MAX_SESSIONS, end the one used least recently, one without open pages first."""
        self.end_unused()
        if len(self._by_token) >= MAX_SESSIONS:
            self.end(min(self._by_token.values(), key=lambda session: (bool(session.pages), session.last_used)))
        backend.sessions += 1
        session = Session(backend, self._clock())
        self._by_token[session.token] = session
        return session

    def find(self, token: str) -> Session | None:
        """Return the session with this token, if it has not ended, and count this as use of it."""
        self.end_unused()
        session = self._by_token.get(token)
        if session is not None:
            session.last_used = self._clock()
        return session

    def owner_of(self, page: str) -> Session | None:
        """Return the session of an open page, by the id of its client."""
        return next((session for session in self._by_token.values() if page in session.pages), None)

    def end(self, session: Session) -> None:
        """End a session and its pages; its backend closes with the last session on it."""
        if self._by_token.pop(session.token, None) is None:
            return
        for end_page in list(session.pages.values()):
            end_page()
        session.pages.clear()
        session.backend.sessions -= 1

    def end_unused(self) -> None:
        """End the sessions that were not used for too long."""
        oldest = self._clock() - self._timeout
        for session in [
            session for session in self._by_token.values() if not session.pages and session.last_used < oldest
        ]:
            self.end(session)

    def __len__(self) -> int:
        return len(self._by_token)
