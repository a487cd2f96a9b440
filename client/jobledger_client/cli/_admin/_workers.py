"""The command that lists workers."""

import typer
from jobledger.v1.worker_service_pb2 import ListWorkersResponse

from jobledger_client.cli import _json, _tables
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "workers", "jobledger workers", "jobledger workers --output json")(workers)


def workers(session: Session) -> None:
    """List the workers that claim your chunks, with what they hold and when they were last heard."""
    with session.client() as client:
        listed = list(client.leases.list_workers(page_size=500))
    if session.as_json:
        _json.print_message(ListWorkersResponse(workers=listed))
    else:
        session.console.print(_tables.workers(listed, width=session.console.width))
