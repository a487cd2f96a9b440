"""The page of all jobs: a live list, with filters, order and paging in its address."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from jobledger.v1.job_pb2 import Job
from jobledger_client import HoldReason, JobledgerError, JobOrder, JobState
from nicegui import ui

from jobledger_console.components.fields import show_check, show_input, show_select, show_toggle
from jobledger_console.components.messages import show_button, show_empty, show_heading
from jobledger_console.components.saved_views import SavedViews
from jobledger_console.components.states import SIGNS, words
from jobledger_console.components.table import Column, DataTable, Row, link_cell, progress_cell, state_cell
from jobledger_console.jobs.bulk_dialog import ask
from jobledger_console.jobs.live_list import JobList
from jobledger_console.jobs.query import DEFAULT_SIZE, InvalidQueryError, JobQuery
from jobledger_console.jobs.verbs import VERBS, NamedJobs, Target
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import show_owner
from jobledger_console.streams import Open, WatchMessage
from jobledger_console.wording import milliseconds, plural

_DRAW_SECONDS: Final = 0.5
_ORDERS: Final = {
    JobOrder.CREATE_TIME_DESC.name: "newest first",
    JobOrder.CREATE_TIME_ASC.name: "oldest first",
    JobOrder.UPDATE_TIME_DESC.name: "last changed first",
    JobOrder.END_TIME_DESC.name: "last ended first",
    JobOrder.PRIORITY_DESC.name: "highest priority first",
    JobOrder.PRIORITY_ASC.name: "lowest priority first",
}
_SORTED: Final = {
    JobOrder.PRIORITY_DESC: ("priority", False),
    JobOrder.PRIORITY_ASC: ("priority", True),
    JobOrder.CREATE_TIME_DESC: ("created", False),
    JobOrder.CREATE_TIME_ASC: ("created", True),
}
"""The column that an order sorts by, and whether ascending."""
COLUMNS: Final = (
    Column("state", "State", "state"),
    Column("job", "Job", "link"),
    Column("kind", "Kind", optional=True),
    Column("progress", "Progress", "progress"),
    Column("chunks", "Chunks", "number", optional=True),
    Column("eta", "Done", "eta", optional=True),
    Column("priority", "Priority", "number", sortable=True, optional=True),
    Column("created", "Created", "time", sortable=True, optional=True),
)


async def build(page: Page) -> None:
    """Draw the page."""
    try:
        query = JobQuery.of_address(page.query)
    except InvalidQueryError as error:
        show_empty("This address is wrong", str(error))
        return
    await JobsView(page, query).open()


@dataclass
class _Drawn:
    """The parts of the page that change."""

    table: DataTable
    summary: ui.label
    empty: ui.element
    paging: ui.element
    actions: ui.element
    selected: dict[str, str] = field(default_factory=dict)
    """The job_ids of the selected rows, with the uids of the jobs that they showed then."""


class JobsView:
    """The page, as one visitor sees it."""

    def __init__(self, page: Page, query: JobQuery) -> None:
        self._page = page
        self.query = query
        self._list = JobList(query, DEFAULT_SIZE)
        self._is_dirty = False
        self._loading = asyncio.Lock()
        self._loaded: JobQuery | None = None
        """The query that is shown, or on its way."""
        self._drawn: _Drawn

    async def open(self) -> None:
        """Draw the controls and the list, and keep them current until the page closes."""
        with ui.element("div").classes("row-of page-head"):
            show_heading("Jobs", 1)
            summary = ui.label("").classes("quiet grow")
            summary.props["role"] = "status"
        self._show_filters()
        actions = ui.element("div").classes("row-of actions")
        table = DataTable(
            COLUMNS,
            caption="Jobs",
            sort=_SORTED.get(self.query.order),
            on_sort=self._sort_by,
            on_selection=self._select if self._page.access.may_write else None,
        )
        self._drawn = _Drawn(table, summary, ui.element("div"), ui.element("div").classes("row-of paging"), actions)
        self._draw_actions()
        self._page.every(_DRAW_SECONDS, self._draw_changes)
        await self._load()

    async def _load(self) -> None:
        """Follow the jobs of the filter, and list the page; once for the last of several quick changes."""
        async with self._loading:
            if self._loaded is self.query:
                return
            query = self._loaded = self.query
            await self._page.unfollow_all()
            self._list = JobList(query, DEFAULT_SIZE)
            try:
                # The list is read after the watch has begun: between them they miss nothing.
                await self._page.follow(("jobs", query.filter), watching(query), self)
                await self._list_page(query, self._list)
            except JobledgerError as error:
                self._page.show_failure(error)

    async def _list_page(self, query: JobQuery, jobs: JobList) -> None:
        pages = self._page.client.list_jobs(
            order=query.order,
            page_size=DEFAULT_SIZE,
            page_token=query.after,
            **query.fields(),
        )
        jobs.load(await pages.page())
        self._draw()

    def on_message(self, message: WatchMessage) -> None:
        """Take over a change."""
        self._is_dirty |= self._list.apply(message)

    def on_relist(self) -> None:
        """List again: changes were missed."""
        self._page.spawn(self._list_page(self._loaded or self.query, self._list))

    def on_end(self, error: JobledgerError | None) -> None:
        """Show why the list is no longer live."""
        if error is not None:
            with self._page.body:
                self._page.show_failure(error)

    def _draw_changes(self) -> None:
        if self._is_dirty:
            self._draw()

    def _draw(self) -> None:
        self._is_dirty = False
        drawn, jobs = self._drawn, self._list.jobs
        drawn.table.set_rows([row_of(self._page, job) for job in jobs])
        about = "about " if self._list.total_is_estimate else ""
        drawn.summary.set_text(about + plural(self._list.total, "job", is_lower_bound=self._list.total_is_lower_bound))
        drawn.table.set_visibility(bool(jobs))
        drawn.empty.clear()
        if not jobs:
            with drawn.empty:
                self._show_empty()
        self._draw_paging()

    def _show_empty(self) -> None:
        if self.query.has_condition or self.query.after:
            show_empty("No job matches", "Jobs that begin to match appear here by themselves.")
        else:
            show_empty(
                "No jobs yet", "Create one:  jobledger create crawl.images --items 2500", "It appears here by itself."
            )

    def _draw_paging(self) -> None:
        self._drawn.paging.clear()
        with self._drawn.paging:
            if self.query.after:
                show_button("First page", lambda: self._change(after=""))
            token = self._list.next_page_token
            if token:
                show_button("Next page", lambda: self._change(after=token))

    def _show_filters(self) -> None:
        query = self.query
        with ui.element("div").classes("filters"):
            show_input(
                "Search",
                query.search,
                lambda text: self._change(search=text.strip()),
                placeholder="name, kind, id, label, error",
                size=22,
                is_search=True,
            )
            show_input("Kind", ",".join(query.kinds), self._set_kinds, placeholder="crawl.images", size=13)
            show_input(
                "Label",
                ",".join(f"{name}={value}" for name, value in query.labels),
                self._set_labels,
                placeholder="team=search",
                size=12,
            )
            show_owner(self._page, lambda owner: self._change(owner=owner))
            show_select("Order", _ORDERS, query.order.name, self._set_order)
            show_check(
                "Service jobs", is_on=query.service_jobs, on_change=lambda is_on: self._change(service_jobs=is_on)
            )
            SavedViews()
        with ui.element("div").classes("row-of toggles") as states:
            states.props["role"] = "group"
            states.props["aria-label"] = "States"
            for state in JobState:
                self._show_state_toggle(state)

    def _show_state_toggle(self, state: JobState) -> None:
        def change(is_on: bool) -> None:  # noqa: FBT001 - one argument
            states = {*self.query.states, state} if is_on else {*self.query.states} - {state}
            self._change(states=tuple(sorted(states)))

        label = f"{SIGNS[state.name]} {words(state.name)}"
        show_toggle(label, is_on=state in self.query.states, on_change=change, classes=f"state-{state.name}")

    def _set_kinds(self, text: str) -> None:
        self._change_text(kind=text)

    def _set_labels(self, text: str) -> None:
        self._change_text(label=text)

    def _change_text(self, **words_: str) -> None:
        try:
            changed = JobQuery.of_address({**self.query.to_address(), **words_, "after": ""})
        except InvalidQueryError:
            return  # somebody is still typing
        self._show(changed)

    def _set_order(self, name: str) -> None:
        self._change(order=JobOrder[name])

    def _sort_by(self, column: str) -> None:
        """Sort by a column, descending; by the column that sorts so already, ascending."""
        ascending = _SORTED.get(self.query.order) == (column, False)
        self._change(order=next(order for order, sort in _SORTED.items() if sort == (column, ascending)))

    def _select(self, names: list[str]) -> None:
        shown, selected = {job.job_id: job.uid for job in self._list.jobs}, self._drawn.selected
        self._drawn.selected = {name: selected.get(name) or shown.get(name, "") for name in names}
        self._draw_actions()

    def _draw_actions(self) -> None:
        """Offer the verbs, for the jobs that are selected or for all that match."""
        drawn = self._drawn
        drawn.actions.clear()
        if not self._page.access.may_write:
            return
        with drawn.actions:
            if drawn.selected:
                jobs = NamedJobs(drawn.selected, self.query.owner)
                self._show_verbs(f"{plural(len(drawn.selected), 'job')} selected:", jobs)
            elif self.query.has_condition:
                self._show_verbs("All that match:", self.query.fields())
            else:
                ui.label("Select jobs, or filter, to change many at once.").classes("quiet")

    def _show_verbs(self, whose: str, jobs: Target) -> None:
        ui.label(whose).classes("quiet")
        for verb in VERBS:
            show_button(f"{verb.button} …", partial(ask, self._page, verb, jobs), classes="small")

    def _change(self, **changes: object) -> None:
        self._show(self.query.with_changes(**changes))

    def _show(self, query: JobQuery) -> None:
        if query == self.query:
            return
        self.query = query
        self._page.show_address(**query.to_address())
        self._drawn.table.set_sort(_SORTED.get(query.order))
        self._drawn.table.unselect()
        self._select([])
        self._page.spawn(self._load())


def watching(query: JobQuery) -> Open:
    """Return a function that opens the watch of a filter, from now on: the page lists the present jobs itself."""
    return lambda client, on_relist: client.watch_jobs(
        from_now=True, bookmarks=True, on_relist=on_relist, reconnect_timeout=None, **query.fields()
    )


def row_of(page: Page, job: Job) -> Row:
    """Return the row of a job."""
    state = JobState(job.state).name
    owner = {"owner": job.owner} if page.query.get("owner") else {}
    summary, progress, is_over = job.chunks_summary, job.progress, job.HasField("end_time")
    return {
        "key": job.job_id,
        "state": state_cell(state, _holds(job)),
        "job": link_cell(
            job.display_name or job.job_id,
            page.address(f"/jobs/{job.job_id}", **owner),
            job.job_id if job.display_name else "",
        ),
        "kind": job.kind,
        "progress": progress_cell(progress.percent, state, job.error.code or ("" if is_over else progress.stage)),
        "chunks": f"{summary.completed:,} / {summary.total:,}",
        "eta": milliseconds(progress.eta) if progress.HasField("eta") else None,
        "priority": str(job.priority),
        "created": milliseconds(job.create_time),
    }


def _holds(job: Job) -> str:
    """Return what a job waits for."""
    reasons = ", ".join(words(HoldReason(hold.reason).name) for hold in job.holds)
    return f"waits for: {reasons}" if reasons else ""


KINDS: Final = (PageKind("/", "Jobs", build, label="Jobs"),)
