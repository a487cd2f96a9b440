"""The command that shows statistics: how many jobs there are, their outcomes and durations."""

from typing import Annotated

import typer

from jobledger_client._generated._enums import StatsStep
from jobledger_client.cli import _json, _parse, _stats_tables
from jobledger_client.cli._choices import Kinds, Owner, ServiceJobs, choice
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "stats",
        "jobledger stats",
        "jobledger stats --kind crawl.images --since 7d --by day",
        "jobledger stats --since 2026-01-01 --until 2026-02-01",
        "jobledger stats --since 2h --kind crawl.images --output json | jq .total.failures",
        "jobledger stats --output json | jq .total.activity.successRate",
    )(stats)


def stats(
    session: Session,
    *,
    kind: Kinds = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME|DURATION", help="The start, or how long ago (7d). [default: 24h]"),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME|DURATION", help="The end. [default: now]")] = None,
    by: Annotated[
        StatsStep | None,
        choice({"hour": StatsStep.HOUR, "day": StatsStep.DAY}, "Also show a series, by hour or by day."),
    ] = None,
    owner: Owner = "",
    by_kind: Annotated[bool, typer.Option("--by-kind", help="With --by: also show a series for each kind.")] = False,
    service_jobs: ServiceJobs = None,
) -> None:
    """Show how many jobs there are now, and what happened in a time range, by kind, and why jobs failed.

    The range is widened to whole hours. Percentiles are within 4.5 %; all other numbers are exact.
    """
    time_range = (_parse.past_time("--since", since), _parse.past_time("--until", until))
    with session.client() as client:
        stats = client.statistics.get_job_stats(
            kinds=kind or (),
            time_range=time_range if any(time_range) else None,
            step=by,
            owner=owner,
            include_service_jobs=bool(service_jobs),
            series_by_kind=by_kind,
        )
    if session.as_json:
        _json.print_message(stats)
    else:
        for part in _stats_tables.report(stats, width=session.console.width):
            session.console.print(part, highlight=False)
