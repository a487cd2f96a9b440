"""The state of a watch's connection, and the notices about it while no message arrives."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Protocol, Self

from jobledger_client._error_groups import JobledgerError
from jobledger_client.cli import _format as formatting

_SLOW_SECONDS = 2.0
"""Without a first message for this time, a notice shows the state of the connection."""
_SILENT_SECONDS = 20.0
"""A healthy server sends a bookmark at least each 15 s."""
_TICK_SECONDS = 0.25
_FIRST_GAP_SECONDS = 10.0
"""A lasting notice is repeated after this time, and then after twice as long each time."""

CONNECTING, RECONNECTING, SILENT, RECONNECTED = "CONNECTING", "RECONNECTING", "SILENT", "RECONNECTED"
_DISCONNECTED = (CONNECTING, RECONNECTING, SILENT)


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence beside the output; `detail` is its technical part."""

    kind: str
    message: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The message with its detail."""
        return f"{self.message}: {self.detail}" if self.detail else self.message

    @property
    def is_disconnected(self) -> bool:
        """Whether the received state may be out of date."""
        return self.kind in _DISCONNECTED


class Interruptible(Protocol):
    """A watch that knows whether its stream is down."""

    @property
    def interruption(self) -> JobledgerError | None:
        """Why the stream is down; None while it is up."""


class Connection:
    """The time of the last message of a watch. Any thread may read it."""

    def __init__(self, watch: Interruptible) -> None:
        self._watch = watch
        self._opened_at = monotonic()
        self._received_at: float | None = None

    def mark_received(self) -> None:
        """Record that a message, of any type, has arrived."""
        self._received_at = monotonic()

    def notice(self) -> Notice | None:
        """Return why the output may be out of date; None while the watch is connected."""
        now, error = monotonic(), self._watch.interruption
        detail = error.message if error is not None else ""
        if self._received_at is None:
            waited = now - self._opened_at
            is_slow = waited > _SLOW_SECONDS
            return Notice(CONNECTING, f"connecting for {formatting.spoken(waited)}", detail) if is_slow else None
        silence = now - self._received_at
        if error is not None:
            return Notice(RECONNECTING, f"reconnecting, last heard {formatting.spoken(silence)} ago", detail)
        if silence > _SILENT_SECONDS:
            return Notice(SILENT, f"the server is silent, last heard {formatting.spoken(silence)} ago")
        return None


class NoticePrinter:
    """A context manager that prints notices where no live display can show them.

    It repeats a lasting notice at increasing intervals, and prints the end of an outage.
    """

    def __init__(self, current: Callable[[], Notice | None], print_notice: Callable[[Notice], None]) -> None:
        self._current = current
        self._print_notice = print_notice
        self._kind = ""
        self._since = self._repeat_at = 0.0
        self._gap_seconds = _FIRST_GAP_SECONDS
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
            self._check(monotonic())

    def _check(self, now: float) -> None:
        notice = self._current()
        kind = notice.kind if notice else ""
        if kind != self._kind:
            if self._kind in _DISCONNECTED and kind not in _DISCONNECTED:
                outage = formatting.spoken(now - self._since)
                self._print_notice(Notice(RECONNECTED, f"reconnected after {outage}"))
            if not (self._kind in _DISCONNECTED and kind in _DISCONNECTED):
                self._since = now
            self._kind, self._gap_seconds, self._repeat_at = kind, _FIRST_GAP_SECONDS, now
        if notice is not None and now >= self._repeat_at:
            self._print_notice(notice)
            self._repeat_at = now + self._gap_seconds
            self._gap_seconds *= 2
