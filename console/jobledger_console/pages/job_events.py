"""The history of a job: who did what, revision by revision."""

from typing import TYPE_CHECKING, Final

from jobledger.v1.event_pb2 import Change, JobEvent
from jobledger.v1.job_service_pb2 import ListEventsResponse
from jobledger_client import ChangeType, JobState
from nicegui import ui

from jobledger_console.components.messages import show_button, show_heading
from jobledger_console.components.states import words
from jobledger_console.components.table import Column, DataTable, Row
from jobledger_console.page import Page
from jobledger_console.wording import clock, plural

if TYPE_CHECKING:
    from jobledger_console.reads import SharedRead

_PAGE_SIZE: Final = 30
_MAX_SECONDS: Final = 3_600.0
"""It is read again when the job has changed, not by the clock."""
_MAX_CHANGES: Final = 12
_MAX_ACTORS: Final = 3
_COLUMNS: Final = (
    Column("revision", "Revision", "number"),
    Column("time", "Time"),
    Column("what", "What", "lines"),
    Column("who", "Who"),
)


class EventLog:
    """The last events, and earlier ones page by page."""

    def __init__(self, page: Page, job_id: str, owner: str) -> None:
        self._page = page
        self._job_id = job_id
        self._owner = owner
        self._earlier: list[JobEvent] = []
        self._page_token = ""
        with ui.element("section").classes("card"):
            show_heading("Events")
            self._table = DataTable(_COLUMNS, caption="Events")
            self._table.classes("events-frame")
            self._more = ui.element("div").classes("row-of paging")
            self._read: SharedRead[ListEventsResponse] = page.read(
                ("events", owner, job_id), self._read_last, seconds=_MAX_SECONDS, listener=self._draw
            )

    def refresh(self) -> None:
        """Read the last events again."""
        self._read.refresh()

    async def _read_last(self) -> ListEventsResponse:
        return await self._list("")

    async def _list(self, page_token: str) -> ListEventsResponse:
        pages = self._page.client.list_events(
            self._job_id, page_size=_PAGE_SIZE, page_token=page_token, owner=self._owner
        )
        return await pages.page()

    def _draw(self) -> None:
        last = self._read.value
        if last is None:
            return
        events = {event.position: event for event in (*last.events, *self._earlier)}
        self._table.set_rows([_row(events[position]) for position in sorted(events, reverse=True)])
        if not self._earlier:
            self._page_token = last.next_page_token
        self._draw_more()

    def _draw_more(self) -> None:
        self._more.clear()
        if self._page_token:
            with self._more:
                show_button("Earlier events", lambda: self._page.spawn(self._load_earlier()))

    async def _load_earlier(self) -> None:
        """Add a page below the events that are shown."""
        if not self._earlier and self._read.value is not None:
            self._earlier.extend(self._read.value.events)
        earlier = await self._list(self._page_token)
        self._earlier.extend(earlier.events)
        self._page_token = earlier.next_page_token
        self._draw()


def _row(event: JobEvent) -> Row:
    """Return the row of an event."""
    lines = [sentence_of(change) for change in event.changes[:_MAX_CHANGES]]
    if len(event.changes) > _MAX_CHANGES:
        lines.append(f"and {plural(len(event.changes) - _MAX_CHANGES, 'more change')}")
    actors = list(dict.fromkeys(change.actor for change in event.changes))
    return {
        "key": str(event.position),
        "revision": f"{event.revision:,}",
        "time": clock(event.commit_time),
        "what": lines,
        "who": ", ".join(actors[:_MAX_ACTORS]) + (" …" if len(actors) > _MAX_ACTORS else ""),
    }


def sentence_of(change: Change) -> str:
    """Return a description of a change."""
    parts = [words(ChangeType(change.type).name)]
    if change.HasField("chunk_index") and not parts[0].startswith("chunk"):
        parts.append(f"chunk {change.chunk_index}")
    elif change.HasField("chunk_index"):
        parts[0] = parts[0].replace("chunk", f"chunk {change.chunk_index}", 1)
    if change.attempt:
        parts.append(f"(attempt {change.attempt})")
    if change.chunk_count:
        parts.append(f"({plural(change.chunk_count, 'chunk')})")
    if change.from_state != change.to_state:
        parts.append(f"· {_state(change.from_state)} → {_state(change.to_state)}")
    if change.reason:
        parts.append(f"· {change.reason}")
    return " ".join(parts)


def _state(number: int) -> str:
    return words(JobState(number).name) if number else "none"
