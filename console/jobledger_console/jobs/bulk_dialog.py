"""The dialog of a verb over jobs: a count, then the run with its progress and its result."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.json_format import MessageToDict
from jobledger.v1.job_pb2 import Job
from jobledger_client import TERMINAL_STATES, JobledgerError, JobState, JobView, WatchMode
from nicegui import ui

from jobledger_console.components.dialogs import Dialog
from jobledger_console.components.fields import Check, Field, show_check, show_input, show_select
from jobledger_console.components.messages import show_error
from jobledger_console.components.states import show_state
from jobledger_console.elements import element
from jobledger_console.jobs.verbs import MAX_REASON, BulkResponse, Choices, NamedJobs, Target, Verb
from jobledger_console.page import Page
from jobledger_console.wording import plural

_REPORT: Final = "report"
_OUTCOMES: Final = ("applied", "unchanged", "refused")
_MAX_SAMPLE: Final = 10


class _Preview(NamedTuple):
    """How many jobs are selected, and some of them."""

    matched: int
    sample: Sequence[Job]
    is_lower_bound: bool = False


def ask(page: Page, verb: Verb, jobs: Target) -> None:
    """Open the dialog, and count the jobs."""
    with page.body:  # where it stays while the page draws its buttons again
        dialog = _BulkDialog(page, verb, jobs)
    page.spawn(dialog.count())


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
            preview = await self._preview()
        except JobledgerError as error:
            self._fail(error)
            return
        self._dialog.body.clear()
        with self._dialog.body:
            self._ask(preview)

    async def _preview(self) -> _Preview:
        client, jobs = self._page.client, self._jobs
        if isinstance(jobs, NamedJobs):
            read = await client.batch_get_jobs(jobs.uids, view=JobView.STATUS, owner=jobs.owner)
            present = [job for job in read.jobs if job.uid == jobs.uids[job.job_id]]
            return _Preview(len(present), present[:_MAX_SAMPLE])
        counted = await self._verb.call(client, jobs, Choices(), True)  # noqa: FBT003 - validate_only
        return _Preview(counted.matched_count, counted.sample, counted.matched_is_lower_bound)

    def _ask(self, preview: _Preview) -> None:
        number = plural(preview.matched, "job", is_lower_bound=preview.is_lower_bound)
        element("p", f"{number} selected.", classes="count")
        element("p", self._verb.about, classes="quiet")
        if not preview.matched:
            self._dialog.set_buttons()
            return
        with ui.element("ul").classes("sample"):
            for job in preview.sample:
                with ui.element("li"):
                    show_state(JobState(job.state).name)
                    ui.label(job.display_name or job.job_id).classes("inline")
            if preview.matched > len(preview.sample):
                element("li", f"and {preview.matched - len(preview.sample):,} more", classes="quiet")
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
        if isinstance(self._jobs, NamedJobs):
            await self._change_each(self._jobs, choices)
            return
        try:
            started = await self._verb.call(self._page.client, self._jobs, choices, False)  # noqa: FBT003 - the run
            await self._follow(started)
        except JobledgerError as error:
            self._fail(error)

    async def _change_each(self, jobs: NamedJobs, choices: Choices) -> None:
        """Change one job after the other, each only if it is the one that the page showed."""
        self._dialog.body.clear()
        with self._dialog.body:
            bar, said = _show_progress()
        counts, first = dict.fromkeys(_OUTCOMES, 0), ""
        for number, (job_id, uid) in enumerate(jobs.uids.items(), 1):
            try:
                name = {"job_id": job_id, "uid": uid, "owner": jobs.owner}
                is_changed = await self._verb.change(self._page.client, choices, name)
                counts["applied" if is_changed else "unchanged"] += 1
            except JobledgerError as error:
                counts["refused"] += 1
                first = first or f"{job_id}: {error}"
            bar.props["value"] = 100 * number / len(jobs.uids)
            said.set_text(_counts(counts))
        said.set_text(_result("Completed", counts, first))

    async def _follow(self, started: BulkResponse) -> None:
        """Show the progress of the run until it has ended."""
        self._dialog.body.clear()
        with self._dialog.body:
            if not started.HasField("job"):
                element("p", "No job is selected any more.")
                return
            bar, said = _show_progress()
            element("a", "Show the run", href=self._page.address(f"/jobs/{started.job.job_id}"))
        # The run is a job of the key that began it, whosever the jobs are.
        run = started.job
        async with self._page.client.watch(run.job_id, uid=run.uid, mode=WatchMode.LATEST) as messages:
            async for message in messages:
                bar.props["value"] = message.job.progress.percent
                said.set_text(_report(message.job))

    def _fail(self, error: JobledgerError) -> None:
        self._dialog.body.clear()
        with self._dialog.body:
            show_error(error)
        self._dialog.set_buttons()


def _show_progress() -> tuple[ui.element, ui.label]:
    """Show a bar and a text, and return them."""
    bar = ui.element("progress").classes("run")
    bar.props["max"] = 100
    bar.props["aria-label"] = "Progress of the run"
    with element("p", role="status"):
        return bar, ui.label("Starting …")


def _report(run: Job) -> str:
    """Return the progress or the result of a run, from its artifact "report"."""
    done = MessageToDict(run.artifacts[_REPORT].metadata) if _REPORT in run.artifacts else {}
    counts = {name: int(done.get(name, 0)) for name in _OUTCOMES}
    state = JobState(run.state)
    if state in TERMINAL_STATES:
        refusals = [f"{refusal['job_id']}: {refusal['error']['message']}" for refusal in done.get("refusals", [])]
        return _result(state.name.capitalize(), counts, refusals[0] if refusals else "")
    return f"{run.progress.percent:.0f} %: {_counts(counts)}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _result(end: str, counts: Mapping[str, int], first_refusal: str) -> str:
    return f"{end}: {_counts(counts)}." + (f" First refusal: {first_refusal}" if first_refusal else "")
