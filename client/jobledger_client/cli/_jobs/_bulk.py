"""One verb over many jobs: preview and confirmation, then the run, then its report."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from jobledger.v1 import bulk_pb2 as bulk
from jobledger.v1.job_pb2 import Job

from jobledger_client._generated._enums import JobView
from jobledger_client._structs import plain
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._connection import Notice
from jobledger_client.cli._exit_codes import DONE, INTERRUPTED, NOT_FOUND, SOME_REFUSED
from jobledger_client.cli._live._watch import wait
from jobledger_client.cli._session import Session

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_PANEL = "Many jobs"

JobIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB_ID]...", help="The jobs; or select them by a filter.", autocompletion=completion.job_ids
    ),
]
ValidateOnly = Annotated[
    bool, typer.Option("--validate-only", help="Only count the jobs and show some of them.", rich_help_panel=_PANEL)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.", rich_help_panel=_PANEL)]
Detach = Annotated[
    bool, typer.Option("--detach", help="Print the run's id and do not follow it.", rich_help_panel=_PANEL)
]

Response: TypeAlias = (
    bulk.CancelJobsResponse | bulk.RetryJobsResponse | bulk.DeleteJobsResponse | bulk.UpdateJobsResponse
)


@dataclass(frozen=True, slots=True)
class JobSelection:
    """The jobs that a command line selects, and the options for a run over them."""

    job_ids: Sequence[str]
    filter_fields: "JobFilterFields"
    validate_only: bool
    yes: bool
    detach: bool

    @property
    def owner(self) -> str:
        """Whose jobs these are; empty for the key's own."""
        return self.filter_fields.get("owner", "")

    @property
    def one(self) -> str | None:
        """The job, if the command line names a single one. Raises typer.BadParameter without jobs or a filter."""
        conditions = self.filter_fields.keys() - {"owner"}
        if self.job_ids and conditions:
            raise typer.BadParameter("JOB_ID and a filter exclude each other; pass one of them")
        if not self.job_ids and not conditions:
            raise typer.BadParameter("JOB_ID or a filter is required, such as --kind, --state or --created-before")
        return self.job_ids[0] if len(self.job_ids) == 1 and not self.validate_only else None


Call = Callable[..., Response]
"""A call of the SDK, complete but for validate_only and the jobs."""


def run(session: Session, client: JobClient, verb: str, call: Call, selection: JobSelection) -> int:
    """Run a verb over many jobs; return the exit code of the run's state, or the one for refusals."""
    needs_consent = not selection.job_ids
    if needs_consent and not (selection.validate_only or selection.yes or sys.stdin.isatty()):
        raise typer.BadParameter("--yes is required without a terminal; --validate-only shows the jobs that match")
    if selection.validate_only or (needs_consent and not selection.yes):
        preview = _call(call, selection, validate_only=True)
        if session.as_json and selection.validate_only:
            _json.print_message(preview)
            return DONE
        _print_preview(session, verb, preview)
        if selection.validate_only or not preview.matched_count:
            return DONE
        typer.confirm(f"{verb} {_count(preview)}?", abort=True, err=True)
    response = _call(call, selection, validate_only=False)
    if response.HasField("job"):
        return _follow(session, client, response.job, selection)
    return _print_no_match(session, response, selection)


def _print_no_match(session: Session, response: Response, selection: JobSelection) -> int:
    """Print that no job matches, so that there is no run; return the exit code."""
    if session.as_json:
        _json.print_message(response)
    elif selection.job_ids:
        session.console.print("none of these jobs exists; there is no run", highlight=False)
    else:
        session.console.print("no job matches; there is no run", highlight=False)
    return NOT_FOUND if selection.job_ids else DONE


def _call(call: Call, selection: JobSelection, *, validate_only: bool) -> Response:
    return call(job_ids=selection.job_ids, validate_only=validate_only, **selection.filter_fields)


def _print_preview(session: Session, verb: str, preview: Response) -> None:
    """Print how many jobs match, and some of them; with JSON as a notice on standard error."""
    if session.as_json:
        session.print_notice(Notice("MATCHED", f"{verb} {_count(preview)}"))
        return
    if preview.sample:
        session.console.print(_tables.statuses(preview.sample, width=session.console.width))
    others = ": these and others" if preview.matched_count > len(preview.sample) else ""
    session.console.print(f"{_count(preview)}{others}", style="dim", highlight=False)


def _count(preview: Response) -> str:
    at_least = "at least " if preview.matched_is_lower_bound else ""
    return f"{at_least}{preview.matched_count:,} job{'' if preview.matched_count == 1 else 's'}"


def _follow(session: Session, client: JobClient, job: Job, selection: JobSelection) -> int:
    if selection.detach:
        if session.as_json:
            _json.print_message(job)
        else:
            session.console.print(job.job_id, markup=False, highlight=False, soft_wrap=True)
        return DONE
    try:
        code = wait(session, client, job)
    except KeyboardInterrupt:
        commands = f"`jobledger watch {job.job_id}` follows it, `jobledger cancel {job.job_id}` stops it"
        session.print_notice(Notice("RUN_CONTINUES", f"the run continues: {commands}"))
        return INTERRUPTED
    ended = client.get_job(job.job_id, view=JobView.BASIC)
    report = plain(ended.artifacts["report"].metadata) if "report" in ended.artifacts else {}
    if not session.as_json:
        if report.get("refusals"):
            session.console.print(_tables.refusals(report["refusals"]))
            others = report["refused"] - len(report["refusals"])
            if others:
                session.console.print(f"and {others:,} more refusals", style="dim", highlight=False)
        session.console.print(_tables.report_counts(report), highlight=False)
    return code or (SOME_REFUSED if report.get("refused") else DONE)
