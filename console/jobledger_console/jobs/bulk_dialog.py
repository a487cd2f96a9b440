"""The dialog of a verb over jobs: a count, then the run with its progress and its result."""

from typing import Final

from google.protobuf.json_format import MessageToDict
from jobledger.v1.job_pb2 import Job
from jobledger_client import TERMINAL_STATES, JobledgerError, JobState, WatchMode
from nicegui import ui

from jobledger_console.components.dialogs import Dialog
from jobledger_console.components.fields import Check, Field, show_check, show_input, show_select
from jobledger_console.components.messages import show_error
from jobledger_console.components.states import show_state
from jobledger_console.elements import element
from jobledger_console.jobs.verbs import MAX_REASON, BulkResponse, Choices, Target, Verb
from jobledger_console.page import Page
from jobledger_console.wording import plural

_REPORT: Final = "report"


def ask(page: Page, verb: Verb, jobs: Target) -> None:
    """Open the dialog, and count the jobs."""
    page.spawn(_BulkDialog(page, verb, jobs).count())


class _BulkDialog:
    def __init__(self, page: Page, verb: Verb, jobs: Target) -> None:
        self._page = page
        self._verb = verb
        self._jobs = jobs
        self._dialog = Dialog(f"{verb.button} jobs")
        self._reason: Field
        self._force: Check | None = None
        self._priority: Field | None = None

    async def count(self) -> None:
        """Show how many jobs are selected, and ask for the rest."""
        with self._dialog.body:
            element("p", "Counting …", classes="quiet", role="status")
        try:
            counted = await self._verb.call(self._page.client, self._jobs, Choices(), True)  # noqa: FBT003 - validate_only
        except JobledgerError as error:
            self._fail(error)
            return
        self._dialog.body.clear()
        with self._dialog.body:
            self._ask(counted)

    def _ask(self, counted: BulkResponse) -> None:
        number = plural(counted.matched_count, "job", is_lower_bound=counted.matched_is_lower_bound)
        element("p", f"{number} selected.", classes="count")
        element("p", self._verb.about, classes="quiet")
        if not counted.matched_count:
            self._dialog.set_buttons()
            return
        with ui.element("ul").classes("sample"):
            for job in counted.sample:
                with ui.element("li"):
                    show_state(JobState(job.state).name)
                    ui.label(job.display_name or job.job_id).classes("inline")
            if counted.matched_count > len(counted.sample):
                element("li", f"and {counted.matched_count - len(counted.sample):,} more", classes="quiet")
        if self._verb.has_priority:
            self._priority = show_select(
                "Priority", {str(priority): str(priority) for priority in range(10, -1, -1)}, "5"
            )
        self._reason = show_input("Reason, for the audit trail", size=46, max_length=MAX_REASON)
        if self._verb.force:
            self._force = show_check(self._verb.force)
        classes = "danger" if self._verb.is_dangerous else "primary"
        self._dialog.set_buttons((f"{self._verb.button} {number}", lambda: self._page.spawn(self._run()), classes))

    async def _run(self) -> None:
        choices = Choices(
            reason=self._reason.value,
            force=self._force is not None and self._force.value,
            priority=int(self._priority.value) if self._priority is not None else 5,
        )
        self._dialog.set_buttons()
        try:
            started = await self._verb.call(self._page.client, self._jobs, choices, False)  # noqa: FBT003 - the run
            await self._follow(started)
        except JobledgerError as error:
            self._fail(error)

    async def _follow(self, started: BulkResponse) -> None:
        """Show the progress of the run until it has ended."""
        self._dialog.body.clear()
        with self._dialog.body:
            if not started.HasField("job"):
                element("p", "No job is selected any more.")
                return
            bar = ui.element("progress").classes("run")
            bar.props["max"] = 100
            bar.props["aria-label"] = "Progress of the run"
            text = element("p", role="status")
            with text:
                said = ui.label("Starting …")
            element("a", "Show the run", href=self._page.address(f"/jobs/{started.job.job_id}"))
        # The run is a job of the key that began it, whosever the jobs are.
        async with self._page.client.watch(started.job.job_id, mode=WatchMode.LATEST) as messages:
            async for message in messages:
                bar.props["value"] = message.job.progress.percent
                said.set_text(_report(message.job))

    def _fail(self, error: JobledgerError) -> None:
        self._dialog.body.clear()
        with self._dialog.body:
            show_error(error)
        self._dialog.set_buttons()


def _report(run: Job) -> str:
    """Return the progress or the result of a run, from its artifact "report"."""
    done = MessageToDict(run.artifacts[_REPORT].metadata) if _REPORT in run.artifacts else {}
    counts = ", ".join(f"{int(done.get(name, 0)):,} {name}" for name in ("applied", "unchanged", "refused"))
    state = JobState(run.state)
    if state in TERMINAL_STATES:
        refusals = [f"{refusal['job_id']}: {refusal['error']['message']}" for refusal in done.get("refusals", [])]
        first = f" First refusal: {refusals[0]}" if refusals else ""
        return f"{state.name.capitalize()}: {counts}.{first}"
    return f"{run.progress.percent:.0f} %: {counts}"
