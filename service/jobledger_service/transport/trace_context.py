"""The trace of a call, in the form of W3C Trace Context: https://www.w3.org/TR/trace-context/."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
_FORM: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

current: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""The trace of the call that is being handled, for the few methods that keep it; empty for none."""


def traceparent_of(metadata: Iterable[tuple[str, Any]]) -> str:
    """Return the caller's trace; empty for none, or for a malformed one, which is no reason to refuse."""
    traceparent = next((value for key, value in metadata if key == TRACEPARENT), "")
    return traceparent if isinstance(traceparent, str) and _FORM.fullmatch(traceparent) else ""
