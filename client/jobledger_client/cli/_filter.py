"""The options that pick jobs, the same for every command that is about many."""

from typing import Annotated, Any

import typer

from jobledger_client._requests import JobFilterFields
from jobledger_client.cli import _parse

_Since = typer.Option(metavar="TIME|SPAN", help="At or after this time, or at most this long ago (2h).")
_Before = typer.Option(metavar="TIME|SPAN", help="Before this time, or longer ago.")

States = Annotated[
    list[str] | None,
    typer.Option(metavar="STATE", help="QUEUED, RUNNING, CANCELLING, COMPLETED, FAILED or CANCELLED; repeat it."),
]
Kinds = Annotated[list[str] | None, typer.Option(metavar="KIND", help="May be repeated.")]
Labels = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated; all must match.")]
Search = Annotated[str, typer.Option(metavar="WORDS", help="Words that begin words of the job.")]
Priority = Annotated[int | None, typer.Option(metavar="N", help="0 to 10.")]
Since = Annotated[str | None, _Since]
Before = Annotated[str | None, _Before]


def job_filter(given: dict[str, Any]) -> JobFilterFields:
    """Return the filter that a command's options describe, by their names in it."""
    found: JobFilterFields = {
        "states": given["state"] or (),
        "kinds": given["kind"] or (),
        "labels": _parse.pairs("--label", given["label"] or ()),
        "search": given["search"],
        "min_priority": given["min_priority"],
        "max_priority": given["max_priority"],
        "create_time": (
            _parse.moment("--created-since", given["created_since"]),
            _parse.moment("--created-before", given["created_before"]),
        ),
    }
    if given["ended_since"] or given["ended_before"]:
        found["end_time"] = (
            _parse.moment("--ended-since", given["ended_since"]),
            _parse.moment("--ended-before", given["ended_before"]),
        )
    return found
