"""The command that shows all that goes on, as it goes on."""

import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Thread
from time import monotonic
from typing import Annotated, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jobledger_client._errors import JobledgerError
from jobledger_client._sync._client import JobClient
from jobledger_client.cli._board import Board
from jobledger_client.cli._filter import OWNER
from jobledger_client.cli._session import Session, command

_RECOUNT = 10.0
"""Seconds after which the queues are counted anew: merged changes may have left them a little off."""
_MOST_JOBS = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "top", "jobledger top", "jobledger top --kind crawl.images", "jobledger top --once")(top)


def top(
    session: Session,
    *,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="May be repeated; all when left out.")] = None,
    owner: Annotated[str, typer.Option(metavar="OWNER", help=OWNER)] = "",
    interval: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="How often to draw.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, after one interval, and end.")] = False,
) -> None:
    """Show the queues by kind, the jobs in work, rates and workers, live. Quit with q.

    Rates are those of the last 10 seconds; workers are those that were heard of in the last minute.
    """
    if session.as_json:
        raise typer.BadParameter("top has no JSON form; stats --output json has the figures")
    if not once and not (session.console.is_terminal and sys.stdin.isatty()):
        raise typer.BadParameter("top needs a terminal; with --once it prints one picture and ends")
    with session.client() as client, _Stream(client, kind or (), owner) as stream:
        if once:
            stream.follow(interval)
            session.console.print(stream.picture(width=session.console.width), highlight=False)
        else:
            _show(session.console, stream, interval)


def _show(console: Console, stream: "_Stream", interval: float) -> None:
    title = Text("jobledger top · q quits", style="dim")
    try:
        with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(title, stream.picture(width=console.width, rows=console.height - 1)), refresh=True)
                if _pressed(interval) in (b"q", b"Q"):
                    return
                stream.look()
    except KeyboardInterrupt:
        return


class _Stream:
    """One watch of all jobs, read on a thread of its own, and the board that it fills."""

    def __init__(self, client: JobClient, kinds: Sequence[str], owner: str) -> None:
        self._client = client
        self._kinds = kinds
        self._owner = owner
        self._board = Board(monotonic())
        self._lock = Lock()
        self._error: JobledgerError | None = None
        jobs = client.list_jobs(states=["RUNNING", "CANCELLING"], kinds=kinds, owner=owner, page_size=_MOST_JOBS)
        page = next(jobs.pages())
        self._board.begin(page.jobs)
        self._recount()
        self._watch = client.watch_jobs(cursor=page.cursor, kinds=kinds, owner=owner)
        self._thread = Thread(target=self._read, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        self._thread.join()

    def _recount(self) -> None:
        stats = self._client.get_job_stats(kinds=self._kinds, owner=self._owner)
        with self._lock:
            self._board.count(stats)
        self._counted = monotonic()

    def _read(self) -> None:
        try:
            for message in self._watch:
                with self._lock:
                    self._board.take(message, monotonic())
        except JobledgerError as error:
            self._error = error

    def follow(self, seconds: float) -> None:
        """Read the stream for a while."""
        self._thread.join(seconds)
        self.look()

    def look(self) -> None:
        """Count anew when it is time; raise what ended the stream."""
        if self._error is not None:
            raise self._error
        if monotonic() - self._counted > _RECOUNT:
            self._recount()

    def picture(self, *, width: int, rows: int | None = None) -> Group:
        """Return what is known now."""
        with self._lock:
            return Group(self._board.render(monotonic(), width=width, rows=rows))


@contextmanager
def _keys() -> Iterator[None]:
    """Let keys be read one by one, without their echo."""
    try:
        import termios  # noqa: PLC0415  Windows has none, and all other commands work there
        import tty  # noqa: PLC0415
    except ImportError:
        raise typer.BadParameter("top needs a POSIX terminal; with --once it prints one picture and ends") from None
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(seconds: float) -> bytes:
    """Return the next key, or nothing when none is pressed for so long."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1) if ready else b""
