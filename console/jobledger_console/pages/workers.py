"""The page of workers, with the chunks that they hold and when they were last heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobledger.v1.worker_service_pb2 import Worker
from jobledger_client import ChangeType, JobledgerError, JobView
from nicegui import ui

from jobledger_console.components.messages import show_empty, show_heading
from jobledger_console.components.table import Column, DataTable, Row, link_cell
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import Reading
from jobledger_console.streams import WatchMessage
from jobledger_console.wording import milliseconds, plural

_READ_SECONDS: Final = 5.0
_DRAW_SECONDS: Final = 1.0
_MAX_WORKERS: Final = 500
_MAX_FOLLOWED: Final = 2_000
"""Workers whose changes are counted."""
_BEGUN, _COMPLETED = ChangeType.CLAIMED, ChangeType.CHUNK_COMPLETED
_FAILED, _RELEASED = ChangeType.CHUNK_FAILED, ChangeType.CHUNK_RELEASED
_TYPES: Final = (_BEGUN, _COMPLETED, _FAILED, _RELEASED)
COLUMNS: Final = (
    Column("worker", "Worker"),
    Column("held", "Holds", "number"),
    Column("heard", "Heard", "time"),
    Column("completed", "Completed", "number"),
    Column("failed", "Failed", "number"),
    Column("last", "Last change", "link", optional=True),
    Column("kinds", "Kinds", optional=True),
    Column("where", "Host and version", optional=True),
    Column("since", "Known since", "time", optional=True),
)


@dataclass
class _Work:
    """What a worker did since the page was opened."""

    completed: int = 0
    failed: int = 0
    last: Row | None = None
    heard: float = 0.0


class WorkersView:
    """The page, as one visitor sees it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._work: dict[str, _Work] = {}
        self._workers: Sequence[Worker] = ()
        self._is_dirty = False
        self._table: DataTable | None = None
        self._summary: ui.label
        self._empty: ui.element

    async def open(self) -> None:
        """Draw the workers, and keep that true until the page closes."""
        with ui.element("div").classes("row-of page-head"):
            show_heading("Workers", 1)
            self._summary = ui.label("").classes("quiet grow")
            self._summary.props["role"] = "status"
        ui.label("Completed, failed and the last change count from when this page was opened.").classes("quiet hint")
        client = self._page.client
        reading = Reading[Sequence[Worker]](self._page, self._set_workers, seconds=_READ_SECONDS)

        async def read(_: str) -> Sequence[Worker]:
            page = await client.leases.list_workers(page_size=_MAX_WORKERS).page()
            return page.workers

        reading.ask("workers", read)
        self._page.every(_DRAW_SECONDS, self._draw_changes)
        await self._page.follow(
            "work of workers",
            lambda client, on_relist: client.watch_jobs(
                from_now=True,
                bookmarks=True,
                view=JobView.STATUS,
                change_types=_TYPES,
                on_relist=on_relist,
                reconnect_timeout=None,
            ),
            self,
        )

    def on_message(self, message: WatchMessage) -> None:
        """Count what workers did."""
        for change in message.event.changes:
            if change.type not in _TYPES or (change.actor not in self._work and len(self._work) >= _MAX_FOLLOWED):
                continue
            work = self._work.setdefault(change.actor, _Work())
            work.completed += change.type == _COMPLETED
            work.failed += change.type == _FAILED
            chunk = f"chunk {change.chunk_index:,}" if change.HasField("chunk_index") else "a chunk"
            address = self._page.address(f"/jobs/{message.job.job_id}")
            name = message.job.display_name or message.job.job_id
            work.heard = milliseconds(message.event.commit_time)
            work.last = link_cell(f"{_VERBS[ChangeType(change.type)]} {chunk}", address, name)
            self._is_dirty = True

    def on_relist(self) -> None:
        """Changes were missed: the counts are too low, and what workers hold is read anyway."""

    def on_end(self, error: JobledgerError | None) -> None:
        """Show why the page is no longer live."""
        if error is not None:
            with self._page.body:
                self._page.show_failure(error)

    def _set_workers(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        if self._table is None:
            self._table = DataTable(COLUMNS, caption="Workers")
            self._empty = ui.element("div")
            with self._empty:
                show_empty(
                    "No workers",
                    "A worker appears here when it claims chunks, and leaves when it was silent for 10 minutes.",
                )
        self._draw()

    def _draw_changes(self) -> None:
        if self._is_dirty:
            self._draw()

    def _draw(self) -> None:
        self._is_dirty = False
        if self._table is None:
            return
        self._table.set_rows([self._row(worker) for worker in self._workers])
        self._table.set_visibility(bool(self._workers))
        self._empty.set_visibility(not self._workers)
        more = "the first " if len(self._workers) >= _MAX_WORKERS else ""
        held = sum(worker.chunk_count for worker in self._workers)
        self._summary.set_text(f"{more}{plural(len(self._workers), 'worker')}, {plural(held, 'chunk')} held")

    def _row(self, worker: Worker) -> Row:
        work = self._work.get(worker.worker, _Work())
        return {
            "key": worker.worker,
            "worker": worker.worker,
            "held": f"{worker.chunk_count:,}",
            "heard": max(milliseconds(worker.last_seen_time), work.heard),
            "completed": f"{work.completed:,}",
            "failed": f"{work.failed:,}",
            "last": work.last,
            "kinds": ", ".join(worker.kinds),
            "where": " · ".join(filter(None, (worker.host, worker.version))),
            "since": milliseconds(worker.first_seen_time),
        }


_VERBS: Final = {_BEGUN: "claimed", _COMPLETED: "completed", _FAILED: "failed at", _RELEASED: "gave back"}


async def build(page: Page) -> None:
    """Draw the page."""
    await WorkersView(page).open()


KINDS: Final = (PageKind("/workers", "Workers", build, label="Workers"),)
