"""The command that shows queues, running jobs and workers, live."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.styled import Styled
from rich.text import Text

from jobledger_client._error_groups import DeadlineExceededError, JobledgerError
from jobledger_client._generated._enums import JobState
from jobledger_client._retry import may_resume
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _format as formatting
from jobledger_client.cli._choices import Kinds, Owner, ServiceJobs
from jobledger_client.cli._connection import Connection
from jobledger_client.cli._live._dashboard import Dashboard
from jobledger_client.cli._parse import timeout
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_RECOUNT_SECONDS = 10.0
"""The queues are counted again after this time: merged changes make them inexact."""
_MAX_JOBS = 500
_MAX_WORKERS = 500
_MAX_INTERVAL = timedelta(seconds=60)
_TITLE = "jobledger top · q quits"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "top", "jobledger top", "jobledger top --kind crawl.images", "jobledger top --once")(top)


def top(
    session: Session,
    *,
    kind: Kinds = None,
    owner: Owner = "",
    service_jobs: ServiceJobs = None,
    interval: Annotated[
        timedelta,
        typer.Option(
            parser=timeout, metavar="DURATION", help="The interval between two updates, at most 60s.", show_default="1s"
        ),
    ] = timedelta(seconds=1),
    once: Annotated[bool, typer.Option("--once", help="Print once, after one interval, and exit.")] = False,
) -> None:
    """Show the queues by kind, the running jobs, rates and workers, live. Quit with q.

    Rates are those of the last 10 seconds; workers are those heard in the last minute. While the server is
    unreachable, the display is dim and shows when it was last heard.
    """
    if session.as_json:
        raise typer.BadParameter("top has no JSON output; use stats --output json")
    if not once and not (session.console.is_terminal and sys.stdin.isatty()):
        raise typer.BadParameter("top requires a terminal; use --once to print once and exit")
    if interval > _MAX_INTERVAL:
        rule = f"must be at most {_MAX_INTERVAL.total_seconds():.0f}s"
        raise typer.BadParameter(f"--interval: {rule}; got {interval.total_seconds():g}s")
    filter_fields: JobFilterFields = {"kinds": kind or (), "owner": owner, "include_service_jobs": bool(service_jobs)}
    with session.client() as client, _Stream(client, filter_fields) as stream:
        if once:
            stream.follow(interval.total_seconds())
            session.console.print(stream.render(width=session.console.width), highlight=False)
        else:
            _show(session.console, stream, interval.total_seconds())


def _show(console: Console, stream: "_Stream", interval_seconds: float) -> None:
    try:
        with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(stream.render(width=console.width, rows=console.height - 1, title=_TITLE), refresh=True)
                if _pressed(interval_seconds) in (b"q", b"Q"):
                    return
                stream.raise_error()
    except KeyboardInterrupt:
        return


class _Stream:
    """A dashboard, with a watch of all jobs and the counts of their queues, each on a thread of its own."""

    def __init__(self, client: JobClient, filter_fields: "JobFilterFields") -> None:
        self._client = client
        self._filter_fields = filter_fields
        self._dashboard = Dashboard(monotonic())
        self._lock = Lock()
        self._error: Exception | None = None
        self._recount_due = Event()
        self._stopping = False
        in_work: JobFilterFields = {**filter_fields, "states": [JobState.RUNNING, JobState.CANCELLING]}
        page = next(client.list_jobs(page_size=_MAX_JOBS, **in_work).pages())
        self._dashboard.set_jobs(page.jobs)
        self._recount()
        self._watch = client.watch_jobs(
            cursor=page.cursor, bookmarks=True, on_relist=lambda _: self._recount_due.set(), **filter_fields
        )
        self._connection = Connection(self._watch)
        self._connection.mark_received()
        self._heard_at = monotonic()
        self._threads = [
            Thread(target=self._run, args=(work,), name=work.__name__, daemon=True)
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

    def _run(self, work: Callable[[], None]) -> None:
        """Run a thread's work; its error ends the command."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raise_error raises it on the main thread
            self._error = error

    def _read(self) -> None:
        for message in self._watch:
            self._connection.mark_received()
            self._heard_at = monotonic()
            if message.HasField("job"):
                with self._lock:
                    self._dashboard.apply(message, monotonic())

    def _count(self) -> None:
        """Count the queues periodically. A call may wait for an unreachable server, so the main thread makes none."""
        while not self._stopping:
            self._recount_due.wait(_RECOUNT_SECONDS)
            self._recount_due.clear()
            if self._stopping or self._watch.interruption is not None:
                continue
            try:
                self._recount()
            except JobledgerError as error:
                if not may_resume(error) and not isinstance(error, DeadlineExceededError):
                    raise

    def _recount(self) -> None:
        stats = self._client.statistics.get_job_stats(
            kinds=self._filter_fields["kinds"],
            owner=self._filter_fields["owner"],
            include_service_jobs=self._filter_fields["include_service_jobs"],
        )
        workers = next(self._client.leases.list_workers(page_size=_MAX_WORKERS).pages()).workers
        with self._lock:
            self._dashboard.set_counts(stats)
            if not self._filter_fields["owner"]:
                self._dashboard.set_workers(workers, list(self._filter_fields["kinds"]), monotonic())

    def follow(self, seconds: float) -> None:
        """Read the stream for some seconds."""
        self._threads[0].join(seconds)
        self.raise_error()

    def raise_error(self) -> None:
        """Raise the error that ended a thread, if one did."""
        if self._error is not None:
            raise self._error

    def render(self, *, width: int, rows: int | None = None, title: str = "") -> RenderableType:
        """Return the dashboard below a title; while it may be out of date it is dim, with a notice above."""
        notice = self._connection.notice()
        at = monotonic() if notice is None else self._heard_at
        head = [Text(title, style="dim")] if title else []
        remaining_rows = None if rows is None else rows - 1
        with self._lock:
            body = self._dashboard.render(at, width=width, rows=remaining_rows)
        if notice is None:
            return Group(*head, body)
        return Group(*head, formatting.one_line(notice.sentence, "bold yellow"), Styled(body, "dim"))


@contextmanager
def _keys() -> Iterator[None]:
    """Read keys one by one, without echo."""
    try:
        import termios  # noqa: PLC0415 - Windows has none, and all other commands work there
        import tty  # noqa: PLC0415
    except ImportError:
        raise typer.BadParameter("top requires a POSIX terminal; use --once to print once and exit") from None
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(seconds: float) -> bytes:
    """Return the next key, or nothing after `seconds`."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1) if ready else b""
