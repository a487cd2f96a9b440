"""The command that shows all that goes on, as it goes on."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.styled import Styled
from rich.text import Text

from jobledger_client._errors import DeadlineExceededError, JobledgerError
from jobledger_client._retry import may_resume
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _words as words
from jobledger_client.cli._board import Board
from jobledger_client.cli._choices import Kinds, ServiceJobs
from jobledger_client.cli._filter import OWNER
from jobledger_client.cli._liveness import Liveness
from jobledger_client.cli._parse import seconds
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_RECOUNT = 10.0
"""Seconds after which the queues are counted anew: merged changes may have left them a little off."""
_MOST_JOBS = 500
_MAX_INTERVAL = 60.0
_TITLE = "jobledger top · q quits"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "top", "jobledger top", "jobledger top --kind crawl.images", "jobledger top --once")(top)


def top(
    session: Session,
    *,
    kind: Kinds = None,
    owner: Annotated[str, typer.Option(metavar="OWNER", help=OWNER)] = "",
    service_jobs: ServiceJobs = None,
    interval: Annotated[
        float, typer.Option(parser=seconds, metavar="SPAN", help="How often to draw, at most 60s.", show_default="1s")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, after one interval, and end.")] = False,
) -> None:
    """Show the queues by kind, the jobs in work, rates and workers, live. Quit with q.

    Rates are those of the last 10 seconds; workers are those that were heard of in the last minute. While the server
    is away the picture is dim, and says when it was last heard.
    """
    if session.as_json:
        raise typer.BadParameter("top has no JSON form; stats --output json has the figures")
    if not once and not (session.console.is_terminal and sys.stdin.isatty()):
        raise typer.BadParameter("top needs a terminal; with --once it prints one picture and ends")
    if interval > _MAX_INTERVAL:
        raise typer.BadParameter(f"--interval: must be at most {_MAX_INTERVAL:.0f}s")
    wanted: JobFilterFields = {"kinds": kind or (), "owner": owner, "include_service_jobs": bool(service_jobs)}
    with session.client() as client, _Stream(client, wanted) as stream:
        if once:
            stream.follow(interval)
            session.console.print(stream.picture(width=session.console.width), highlight=False)
        else:
            _show(session.console, stream, interval)


def _show(console: Console, stream: "_Stream", interval: float) -> None:
    try:
        with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(stream.picture(width=console.width, rows=console.height - 1, title=_TITLE), refresh=True)
                if _pressed(interval) in (b"q", b"Q"):
                    return
                stream.look()
    except KeyboardInterrupt:
        return


class _Stream:
    """One watch of all jobs and the counts of their queues, each read on a thread of its own, and their board."""

    def __init__(self, client: JobClient, wanted: "JobFilterFields") -> None:
        self._client = client
        self._wanted = wanted
        self._board = Board(monotonic())
        self._lock = Lock()
        self._error: Exception | None = None
        self._recount_due = Event()
        self._stopping = False
        in_work: JobFilterFields = {**wanted, "states": ["RUNNING", "CANCELLING"]}
        page = next(client.list_jobs(page_size=_MOST_JOBS, **in_work).pages())
        self._board.begin(page.jobs)
        self._recount()
        self._watch = client.watch_jobs(
            cursor=page.cursor, bookmarks=True, on_relist=lambda _: self._recount_due.set(), **wanted
        )
        self._alive = Liveness(self._watch)
        self._alive.heard()
        self._threads = [
            Thread(target=self._owned, args=(work,), name=work.__name__, daemon=True)
            for work in (self._read, self._count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._recount_due.set()
        self._watch.close()
        self._threads[0].join()

    def _owned(self, work: Callable[[], None]) -> None:
        """Do a thread's work; what ends it ends the command."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised where it can be told
            self._error = error

    def _read(self) -> None:
        for message in self._watch:
            self._alive.heard()
            if message.HasField("job"):
                with self._lock:
                    self._board.take(message, monotonic())

    def _count(self) -> None:
        """Count now and again, and never on the thread that draws: a call may wait for a server that is away."""
        while not self._stopping:
            self._recount_due.wait(_RECOUNT)
            self._recount_due.clear()
            if self._stopping or self._watch.interruption is not None:
                continue
            try:
                self._recount()
            except JobledgerError as error:
                if not may_resume(error) and not isinstance(error, DeadlineExceededError):
                    raise

    def _recount(self) -> None:
        owner, kinds = self._wanted["owner"], self._wanted["kinds"]
        asked = self._wanted["include_service_jobs"]
        stats = self._client.get_job_stats(kinds=kinds, owner=owner, include_service_jobs=asked)
        with self._lock:
            self._board.count(stats)

    def follow(self, seconds: float) -> None:
        """Read the stream for a while."""
        self._threads[0].join(seconds)
        self.look()

    def look(self) -> None:
        """Raise what ended a thread."""
        if self._error is not None:
            raise self._error

    def picture(self, *, width: int, rows: int | None = None, title: str = "") -> RenderableType:
        """Return what is known now, below a title; dim, and with the reason above it, when that may be out of date."""
        notice = self._alive.notice()
        head = [Text(title, style="dim")] if title else []
        left = None if rows is None else rows - 1
        with self._lock:
            known = self._board.render(monotonic(), width=width, rows=left)
        if notice is None:
            return Group(*head, known)
        return Group(*head, words.one_line(notice.sentence, "bold yellow"), Styled(known, "dim"))


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
