"""The log of refused calls: a line for each of a caller with a key; sums for many of one, for overload, for strangers.

A line for each of those would cost more than the refusal, and fill the log.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from .call import Call
from .errors import Refused
from .identity import PUBLIC_CALLER

log = structlog.get_logger(__name__)

OVERLOAD_SECONDS: Final = 1.0
"""Seconds between two sums of an overload."""
KEY_SECONDS: Final = 1.0
KEY_LINES: Final = 10
"""The lines of one key in KEY_SECONDS; further refusals are summed up at their end."""
ANONYMOUS_SECONDS: Final = 60.0
"""Seconds between two sums of the refusals of unknown callers."""


class RefusalLog:
    """Logs refusals; `refused` is called with the bound of each that is for overload."""

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._refused = refused
        self._overload: Counter[tuple[str, str]] = Counter()
        self._lines: Counter[str] = Counter()
        self._further: Counter[tuple[str, str, str, str, str]] = Counter()
        self._anonymous: Counter[tuple[str, str, str]] = Counter()
        self._next: asyncio.TimerHandle | None = None

    def add(self, call: Call, refused: Refused) -> None:
        """Log a refusal, or count it: by owner and bound, or by method, code and reason when the caller is unknown.

        A reason that the method does not declare is a defect, and is logged as one too.
        """
        method = call.handler.method
        if refused.reason not in method.all_reasons:
            log.error(
                "refused for a reason that the method does not declare", reason=refused.reason, **call.log_fields()
            )
        if refused.bound:
            if not self._overload:
                asyncio.get_running_loop().call_later(OVERLOAD_SECONDS, self._write_overload)
            self._overload[call.caller.owner, refused.bound] += 1
            self._refused(refused.bound)
        elif call.caller is PUBLIC_CALLER:
            self._anonymous[method.full_name, call.code, refused.reason] += 1
            if self._next is None:  # the first of a minute is logged at once, later ones when the minute is over
                self._write_anonymous()
        else:
            self._log_or_count(call, refused)

    def _log_or_count(self, call: Call, refused: Refused) -> None:
        """Log one of the first refusals of a key, or count it."""
        caller = call.caller
        subject = caller.key_id or caller.owner
        if not self._lines:
            asyncio.get_running_loop().call_later(KEY_SECONDS, self._write_further)
        self._lines[subject] += 1
        if self._lines[subject] <= KEY_LINES:
            log.info("refused", code=call.code, why=refused.status.details, **call.log_fields())
        else:
            self._further[caller.owner, caller.key_id, call.handler.method.name, call.code, refused.reason] += 1

    def close(self) -> None:
        """Log what has not been logged yet."""
        self._write_further()
        if self._next is not None:
            self._next.cancel()
        self._write_anonymous()

    def _write_overload(self) -> None:
        counts, self._overload = self._overload, Counter()
        for (owner, bound), count in counts.items():
            log.warning("calls are refused for overload", owner=owner, bound=bound, calls=count)

    def _write_further(self) -> None:
        further, self._further = self._further, Counter()
        self._lines.clear()
        for (owner, key_id, method, code, reason), calls in further.items():
            sums = {"method": method, "code": code, "reason": reason, "calls": calls}
            log.info("further refusals of a key", owner=owner, key_id=key_id or None, **sums)

    def _write_anonymous(self) -> None:
        self._next = None
        if not self._anonymous:
            return
        refusals = [
            {"method": method, "code": code, "reason": reason, "calls": calls}
            for (method, code, reason), calls in self._anonymous.most_common()
        ]
        log.info("refused without a key", calls=self._anonymous.total(), refusals=refusals)
        self._anonymous.clear()
        self._next = asyncio.get_running_loop().call_later(ANONYMOUS_SECONDS, self._write_anonymous)
