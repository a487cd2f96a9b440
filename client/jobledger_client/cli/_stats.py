"""The command that shows figures: how many jobs there are, what became of them, how long they took."""

from typing import Annotated

import typer
from jobledger.v1.stats_pb2 import StatsStep

from jobledger_client.cli import _figures, _json, _parse
from jobledger_client.cli._choices import Kinds, ServiceJobs, Step, choice
from jobledger_client.cli._filter import OWNER
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "stats",
        "jobledger stats",
        "jobledger stats --kind crawl.images --since 7d --by day",
        "jobledger stats --since 2026-01-01 --until 2026-02-01",
        "jobledger stats --output json | jq .total.activity.successRate",
    )(stats)


def stats(
    session: Session,
    *,
    kind: Kinds = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME|SPAN", help="From this time on, or this long ago (7d). [default: 24h]"),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME|SPAN", help="Up to this time. [default: now]")] = None,
    by: Annotated[Step | None, choice(Step, "Show the course too, by hour or by day.")] = None,
    owner: Annotated[str, typer.Option(metavar="OWNER", help=OWNER)] = "",
    service_jobs: ServiceJobs = None,
) -> None:
    """Show how many jobs there are now, and what happened in a span of time, by kind.

    The span is widened to whole hours. Percentiles are within 4.5 %; all else is exact.
    """
    span = (_parse.moment("--since", since), _parse.moment("--until", until))
    step = StatsStep.STATS_STEP_UNSPECIFIED if by is None else by
    with session.client() as client:
        found = client.statistics.get_job_stats(
            kinds=kind or (),
            time_range=span if any(span) else None,
            step=step,
            owner=owner,
            include_service_jobs=bool(service_jobs),
        )
    if session.as_json:
        _json.document(found)
    else:
        for part in _figures.report(found, width=session.console.width):
            session.console.print(part, highlight=False)
