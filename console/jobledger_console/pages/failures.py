"""The page of failures: runs that failed, by error code and stage, each with an example, and how to retry them."""

from datetime import UTC, datetime
from typing import Final

from jobledger.v1.stats_pb2 import FailureGroup, GetJobStatsResponse
from jobledger_client import JobFilterFields, JobState
from nicegui import ui

from jobledger_console.components.messages import show_empty
from jobledger_console.components.table import Column, DataTable, Row, link_cell
from jobledger_console.jobs.bulk_dialog import ask
from jobledger_console.jobs.verbs import VERBS
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.statistics import SpanView
from jobledger_console.wording import percent, plural

_OTHER: Final = "(other)"
"""The group of all codes without a group of their own."""
_RETRY: Final = next(verb for verb in VERBS if verb.name == "retry")
_COLUMNS: Final = (
    Column("code", "Error code and stage", "link"),
    Column("count", "Failed runs", "number"),
    Column("example", "Example", "link", optional=True),
)


class FailuresView(SpanView):
    """The page, as one visitor sees it."""

    title = "Failures"

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._codes: dict[str, str] = {}
        self._since: datetime | None = None
        self._table: DataTable | None = None
        self._empty: ui.element
        self._more: ui.label

    def _draw(self, stats: GetJobStatsResponse) -> None:
        may_retry = self._page.access.may_write
        if self._table is None:
            actions = (Column("retry", "Retry", "action"),) if may_retry else ()
            self._table = DataTable((*_COLUMNS, *actions), caption="Failures", on_action=self._retry)
            self._empty = ui.element("div")
            with self._empty:
                show_empty("Nothing failed", "No run of a job ended FAILED in this span.")
            self._more = ui.label("").classes("quiet")
        groups, total = stats.total.failures, stats.total
        self._since = stats.time_range.start_time.ToDatetime(tzinfo=UTC)
        self._codes = {_key(group): group.error_code for group in groups}
        self._table.set_rows([self._row(group) for group in groups])
        self._table.set_visibility(bool(groups))
        self._empty.set_visibility(not groups)
        more = total.omitted_failure_count
        self._more.set_text(f"and {plural(more, 'more group')}" if more else "")
        rate = (
            f", {percent(100 - total.activity.success_rate * 100)} of those that ended" if total.activity.failed else ""
        )
        self._summary.set_text(f"{plural(total.activity.failed, 'failed run')}{rate}")

    def _row(self, group: FailureGroup) -> Row:
        page, code, example = self._page, group.error_code, group.example_job_id
        jobs = page.address(
            "/", state="FAILED", error="" if code == _OTHER else code, kind=self._kind, owner=page.owner
        )
        return {
            "key": _key(group),
            "count": f"{group.count:,}",
            "code": link_cell(code, jobs, f"in {group.stage}" if group.stage else ""),
            "example": link_cell(example, page.address(f"/jobs/{example}", owner=page.owner)) if example else None,
            "retry": None if code == _OTHER else "Retry all …",
        }

    def _retry(self, key: str, _: str) -> None:
        """Count the jobs that failed so and did not run again, and ask whether to retry them."""
        if key not in self._codes:
            return
        chosen: JobFilterFields = {
            "states": [JobState.FAILED],
            "error_code": self._codes[key],
            "kinds": self._kinds(),
            "end_time": (self._since, None),
            "owner": self._page.owner,
        }
        ask(self._page, _RETRY, chosen)


def _key(group: FailureGroup) -> str:
    return f"{group.error_code}\n{group.stage}"


async def build(page: Page) -> None:
    """Draw the page."""
    FailuresView(page).open()


KINDS: Final = (PageKind("/failures", "Failures", build, label="Failures"),)
