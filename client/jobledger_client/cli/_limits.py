"""The commands for concurrency limits: `jobledger limits …`."""

from typing import Annotated

import typer
from jobledger.v1.limit_service_pb2 import ListLimitsResponse

from jobledger_client.cli import _json, _tables
from jobledger_client.cli._session import Session, command, new_app

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="kind:KIND or label:NAME=VALUE.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = new_app()
    command(group, "list", "jobledger limits list")(list_limits)
    command(group, "set", "jobledger limits set kind:audio.mix 2", "jobledger limits set label:gpu=a100 4")(set_limit)
    command(group, "delete", "jobledger limits delete kind:audio.mix")(delete_limit)
    app.add_typer(group, name="limits", help="Limit how many jobs of a kind or a label may run at once.")


def list_limits(session: Session) -> None:
    """List the limits, each with its running and waiting jobs."""
    with session.client() as client:
        found = client.limits.list_limits()
    if session.as_json:
        _json.print_message(ListLimitsResponse(limits=found))
    else:
        session.console.print(_tables.limits(found))


def set_limit(
    session: Session,
    scope: Scope,
    max_running: Annotated[int, typer.Argument(metavar="N", help="How many jobs may run at once.")],
) -> None:
    """Set or change a limit. Running jobs continue."""
    with session.client() as client:
        limit = client.limits.set_limit(scope, max_running)
    if session.as_json:
        _json.print_message(limit)
    else:
        print(f"{limit.scope}: at most {limit.max_running} at once")


def delete_limit(session: Session, scope: Scope) -> None:
    """Remove a limit; jobs waiting for it become claimable."""
    with session.client() as client:
        client.limits.delete_limit(scope)
