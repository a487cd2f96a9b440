"""The page of one job, live: also after its end, as it may be retried."""

from functools import partial
from typing import Final

from jobledger_client import JobledgerError
from nicegui import ui

from jobledger_console.commands import job_commands
from jobledger_console.components.messages import show_button, show_heading
from jobledger_console.components.parts import Part
from jobledger_console.elements import element, notify
from jobledger_console.jobs.bulk_dialog import ask
from jobledger_console.jobs.model import JobModel
from jobledger_console.jobs.verbs import VERBS, NamedJobs
from jobledger_console.page import Page, PageKind
from jobledger_console.pages import job_summary as summary
from jobledger_console.pages.job_chunks import ChunkCharts
from jobledger_console.pages.job_events import EventLog
from jobledger_console.streams import Open, WatchMessage

_DRAW_SECONDS: Final = 0.5
_CHART_SECONDS: Final = 2.0


async def build(page: Page) -> None:
    """Draw the page."""
    await JobView(page).open()


def watching(job_id: str, owner: str) -> Open:
    """Return what opens the watch of one job: by a filter, as that also goes on after the end of the job."""
    return lambda client, on_relist: client.watch_jobs(
        job_ids=[job_id],
        owner=owner,
        include_service_jobs=True,
        from_now=True,
        bookmarks=True,
        on_relist=on_relist,
        reconnect_timeout=None,
    )


class JobView:
    """The page, as one visitor sees it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._job_id = page.parameters["job_id"]
        self._owner = page.query.get("owner", "")
        self._model = JobModel(self._job_id, self._owner)
        self._head_is_dirty = self._charts_are_dirty = self._is_loading = False
        self._charts: ChunkCharts
        self._events: EventLog

    async def open(self) -> None:
        """Follow the job, draw it, and keep that true until the page closes."""
        page, question = self._page, ("job", self._owner, self._job_id)
        stream = await page.follow(question, watching(self._job_id, self._owner), self, lambda: self._model)
        assert isinstance(stream.model, JobModel)  # noqa: S101 - for mypy
        self._model = stream.model
        await self._model.load(page.client)
        self._draw_frame()
        self._draw_head()
        self._draw_charts()
        page.every(_DRAW_SECONDS, self._draw_changes)
        page.every(_CHART_SECONDS, self._draw_slowly)

    def on_message(self, message: WatchMessage) -> None:
        """Note that the job has changed; the model has the change."""
        if message.HasField("job"):
            self._head_is_dirty = self._charts_are_dirty = True

    def on_relist(self) -> None:
        """Do nothing: the model knows that it missed changes."""

    def on_end(self, error: JobledgerError | None) -> None:
        """Show why the page is no longer live."""
        if error is not None:
            with self._page.body:
                self._page.show_failure(error)

    async def _load(self) -> None:
        self._is_loading = True
        try:
            await self._model.load(self._page.client)
            self._head_is_dirty = self._charts_are_dirty = True
        finally:
            self._is_loading = False

    def _draw_changes(self) -> None:
        if self._model.needs_loading and not self._is_loading:
            self._page.spawn(self._load())
        if self._head_is_dirty:
            self._head_is_dirty = False
            self._draw_head()
            self._charts.draw_map()

    def _draw_slowly(self) -> None:
        if self._charts_are_dirty:
            self._charts_are_dirty = False
            self._draw_charts()
            self._events.refresh()

    def _draw_frame(self) -> None:
        """Draw what stays, and the places of what changes."""
        self._title = Part("card job-head")
        self._actions = Part("row-of actions")
        self._error = Part()
        with ui.element("div").classes("columns"):
            with ui.element("section").classes("card"):
                show_heading("About")
                self._facts = Part()
            with ui.element("div"):
                with ui.element("section").classes("card"):
                    show_heading("Stages")
                    self._stages = Part()
                with ui.element("section").classes("card"):
                    show_heading("Artifacts")
                    self._artifacts = Part()
        self._charts = ChunkCharts(self._page, self._model, self._job_id, self._owner)
        self._events = EventLog(self._page, self._job_id, self._owner)
        self._show_commands()

    def _draw_head(self) -> None:
        job, is_deleted = self._model.job, self._model.is_deleted
        if job is None:
            return
        shown = job.uid, job.revision, is_deleted
        self._title.show(shown, lambda: summary.show_title(job, is_deleted=is_deleted))
        self._actions.show((is_deleted, job.uid), lambda: self._show_actions(job.uid))
        self._error.show(job.error.SerializeToString(), lambda: summary.show_error_of(job))
        self._facts.show(summary.facts(job), lambda: summary.show_about(job))
        self._stages.show(summary.stages(job), lambda: summary.show_stages(job))
        artifacts = sorted((name, one.SerializeToString()) for name, one in job.artifacts.items())
        self._artifacts.show(
            (artifacts, job.result_uri),
            lambda: summary.show_artifacts(sorted(job.artifacts.items(), key=lambda named: named[0]), job.result_uri),
        )

    def _show_actions(self, uid: str) -> None:
        if self._page.access.may_write and not self._model.is_deleted:
            jobs = NamedJobs({self._job_id: uid}, self._owner)
            for verb in VERBS:
                show_button(f"{verb.button} …", partial(ask, self._page, verb, jobs))

    def _draw_charts(self) -> None:
        self._charts.draw_map()
        self._charts.draw_charts()

    def _show_commands(self) -> None:
        settings, access = self._page.settings, self._page.access
        lines = job_commands(
            settings.target, self._job_id, self._owner, has_key=access.has_key, is_tls=settings.credentials is not None
        )
        with ui.element("section").classes("card"):
            show_heading("The same without a browser")
            for tool, text in lines.items():
                with ui.element("details"):
                    element("summary", tool)
                    element("pre", text)
                    copy = element("button", "Copy", classes="button small", type="button")
                    copy.on("click", lambda _: notify("Copied."), js_handler=_COPY)


_COPY: Final = """(event) => {
  const text = event.target.closest('details').querySelector('pre').innerText;
  navigator.clipboard.writeText(text).then(() => emit());
}"""

KINDS: Final = (PageKind("/jobs/{job_id}", "Job", build),)
