"""The trace of a call, in the form of W3C Trace Context: https://www.w3.org/TR/trace-context/."""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Final, Protocol

TRACEPARENT: Final = "traceparent"
_FORM: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

current: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""The trace of the call that is being handled, for the few methods that keep it; empty for none."""


def traceparent_of(metadata: Iterable[tuple[str, Any]]) -> str:
    """Return the caller's trace; empty for none, or for a malformed one, which is no reason to refuse."""
    given = next((value for key, value in metadata if key == TRACEPARENT), "")
    return given if isinstance(given, str) and _FORM.fullmatch(given) else ""


class Span(Protocol):
    """A call in its trace."""

    @property
    def traceparent(self) -> str:
        """How others name this call as their parent."""

    def end(self, code: str) -> None:
        """Record the name of the status code of the call."""


class Tracer(Protocol):
    """Makes spans of calls."""

    def span(self, service: str, method: str, metadata: Iterable[tuple[str, Any]]) -> AbstractContextManager[Span]:
        """Open a span, in the caller's trace if it names one; it is current until it is left."""
