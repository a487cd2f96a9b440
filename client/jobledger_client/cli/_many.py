"""One verb over many jobs: shown and confirmed before it begins, followed until it is done, and then reported."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from jobledger.v1 import bulk_pb2 as bulk
from jobledger.v1.job_pb2 import Job, JobView

from jobledger_client._structs import plain
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._exits import DONE, INTERRUPTED, NOT_FOUND, SOME_REFUSED
from jobledger_client.cli._liveness import Notice
from jobledger_client.cli._session import Session
from jobledger_client.cli._watch import wait

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_PANEL = "Many jobs"

JobIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB_ID]...", help="The jobs; or pick them by a filter.", autocompletion=completion.job_ids
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only count the jobs and show some of them.", rich_help_panel=_PANEL)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", rich_help_panel=_PANEL)]
Detach = Annotated[
    bool, typer.Option("--detach", help="Print the run's id and do not follow it.", rich_help_panel=_PANEL)
]

Response: TypeAlias = (
    bulk.CancelJobsResponse | bulk.RetryJobsResponse | bulk.DeleteJobsResponse | bulk.UpdateJobPrioritiesResponse
)


@dataclass(frozen=True, slots=True)
class Which:
    """The jobs that a command line means, and how it wants them treated."""

    job_ids: Sequence[str]
    wanted: "JobFilterFields"
    dry_run: bool
    yes: bool
    detach: bool

    @property
    def one(self) -> str | None:
        """The job, when it is a single one that is named. Raises typer.BadParameter when it is unclear which are."""
        if self.job_ids and self.wanted:
            raise typer.BadParameter("give JOB_IDs or a filter, not both")
        if not self.job_ids and not self.wanted:
            raise typer.BadParameter("say which jobs: JOB_IDs, or a filter such as --kind, --state or --created-before")
        return self.job_ids[0] if len(self.job_ids) == 1 and not self.dry_run else None


Call = Callable[..., Response]
"""A call of the SDK with all but dry_run and which jobs."""


def run(session: Session, client: JobClient, verb: str, call: Call, which: Which) -> int:
    """Do a verb with many jobs; return the exit code: that of the run's state, or that some jobs refused."""
    asks = not which.job_ids
    if asks and not (which.dry_run or which.yes or sys.stdin.isatty()):
        raise typer.BadParameter("--yes is required where nobody can be asked; --dry-run shows which jobs are meant")
    if which.dry_run or (asks and not which.yes):
        meant = _call(call, which, dry_run=True)
        if session.as_json and which.dry_run:
            _json.document(meant)
            return DONE
        _show(session, verb, meant)
        if which.dry_run or not meant.matched_count:
            return DONE
        typer.confirm(f"{verb} {_count(meant)}?", abort=True, err=True)
    answer = _call(call, which, dry_run=False)
    return _follow(session, client, answer.job, which) if answer.HasField("job") else _nothing(session, answer, which)


def _nothing(session: Session, answer: Response, which: Which) -> int:
    """Tell that no job is meant, so that there is no run; return the exit code."""
    if session.as_json:
        _json.document(answer)
    elif which.job_ids:
        session.console.print("none of these jobs exists: nothing was begun", highlight=False)
    else:
        session.console.print("no job matches: nothing was begun", highlight=False)
    return NOT_FOUND if which.job_ids else DONE


def _call(call: Call, which: Which, *, dry_run: bool) -> Response:
    return call(job_ids=which.job_ids, dry_run=dry_run, **which.wanted)


def _show(session: Session, verb: str, meant: Response) -> None:
    """Tell how many jobs are meant and show some; on standard error where the answer is a document."""
    if session.as_json:
        session.notice(Notice("MATCHED", f"{verb} {_count(meant)}"))
        return
    if meant.sample:
        session.console.print(_tables.statuses(meant.sample, width=session.console.width))
    others = " and others" if meant.matched_count > len(meant.sample) else ""
    session.console.print(f"{_count(meant)}{': these' if others else ''}{others}", style="dim", highlight=False)


def _count(meant: Response) -> str:
    least = "at least " if meant.matched_is_lower_bound else ""
    return f"{least}{meant.matched_count:,} job{'' if meant.matched_count == 1 else 's'}"


def _follow(session: Session, client: JobClient, job: Job, which: Which) -> int:
    if which.detach:
        if session.as_json:
            _json.document(job)
        else:
            session.console.print(job.job_id, markup=False, highlight=False, soft_wrap=True)
        return DONE
    try:
        code = wait(session, client, job.job_id)
    except KeyboardInterrupt:
        ways = f"`jobledger watch {job.job_id}` follows it, `jobledger cancel {job.job_id}` stops it"
        session.notice(Notice("RUN_GOES_ON", f"the run goes on: {ways}"))
        return INTERRUPTED
    ended = client.get_job(job.job_id, view=JobView.JOB_VIEW_BASIC)
    report = plain(ended.artifacts["report"].metadata) if "report" in ended.artifacts else {}
    if not session.as_json:
        if report.get("refusals"):
            session.console.print(_tables.refusals(report["refusals"]))
            others = report["refused"] - len(report["refusals"])
            if others:
                session.console.print(f"and {others:,} refusals more", style="dim", highlight=False)
        session.console.print(_tables.counted(report), highlight=False)
    return code or (SOME_REFUSED if report.get("refused") else DONE)
