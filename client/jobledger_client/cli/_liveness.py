"""Whether a watch is alive, and what there is to say while no message comes."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Protocol, Self

from jobledger_client._errors import JobledgerError
from jobledger_client.cli import _words as words

_SLOW_SECONDS = 2.0
"""After so long without a first message, people want to know what is waited for."""
_SILENT_SECONDS = 20.0
"""A server that lives sends a bookmark at least each 15 s."""
_TICK_SECONDS = 0.25
_FIRST_GAP_SECONDS = 10.0
"""A notice that stays is repeated after this, and then after twice as long each time."""

CONNECTING, RECONNECTING, SILENT, RECONNECTED = "CONNECTING", "RECONNECTING", "SILENT", "RECONNECTED"
_AWAY = (CONNECTING, RECONNECTING, SILENT)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to say beside the messages; `detail` is the part for those who look closer."""

    kind: str
    message: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.message}: {self.detail}" if self.detail else self.message


class Interruptible(Protocol):
    """A watch, as far as it tells whether its stream is down."""

    @property
    def interruption(self) -> JobledgerError | None:
        """Why the stream is down; None while it is up."""


class Liveness:
    """When a watch was last heard; asked from any thread."""

    def __init__(self, watch: Interruptible) -> None:
        self._watch = watch
        self._opened = monotonic()
        self._heard: float | None = None

    def heard(self) -> None:
        """Note that a message came, of whatever type."""
        self._heard = monotonic()

    def notice(self) -> Notice | None:
        """Return why what is shown may be out of date; None while the watch is alive."""
        now, error = monotonic(), self._watch.interruption
        detail = error.message if error is not None else ""
        if self._heard is None:
            waited = now - self._opened
            slow = waited > _SLOW_SECONDS
            return Notice(CONNECTING, f"connecting for {words.spoken(waited)}", detail) if slow else None
        silence = now - self._heard
        if error is not None:
            return Notice(RECONNECTING, f"reconnecting, last heard {words.spoken(silence)} ago", detail)
        if silence > _SILENT_SECONDS:
            return Notice(SILENT, f"the server is silent, last heard {words.spoken(silence)} ago")
        return None


class NoticePrinter:
    """A context manager that says notices as they come, where no live picture can show them.

    One that stays is repeated, at longer and longer gaps; the end of an outage is told too.
    """

    def __init__(self, current: Callable[[], Notice | None], say: Callable[[Notice], None]) -> None:
        self._current = current
        self._say = say
        self._kind = ""
        self._since = self._again_at = 0.0
        self._gap = _FIRST_GAP_SECONDS
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="notices", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_TICK_SECONDS):
            self._look(monotonic())

    def _look(self, now: float) -> None:
        notice = self._current()
        kind = notice.kind if notice else ""
        if kind != self._kind:
            if self._kind in _AWAY and kind not in _AWAY:
                self._say(Notice(RECONNECTED, f"connected again after {words.spoken(now - self._since)}"))
            if not (self._kind in _AWAY and kind in _AWAY):
                self._since = now
            self._kind, self._gap, self._again_at = kind, _FIRST_GAP_SECONDS, now
        if notice is not None and now >= self._again_at:
            self._say(notice)
            self._again_at = now + self._gap
            self._gap *= 2
