"""What the shell completes by asking the server: ids and kinds, within half a second or not at all."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import typer

from jobledger_client._errors import JobledgerError
from jobledger_client._sync._client import JobClient
from jobledger_client.cli._session import Options, Session

_PATIENCE_SECONDS = 0.5
_MOST = 50


def job_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs whose id begins so, with what tells them apart."""
    return _asked(context, lambda client: _job_ids(client, incomplete))


def kinds(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the kinds that begin so."""
    return _asked(context, lambda client: _kinds(client, incomplete))


def _job_ids(client: JobClient, incomplete: str) -> Iterator[tuple[str, str]]:
    page = next(client.list_jobs(view="STATUS", page_size=_MOST).pages())
    for job in page.jobs:
        if job.job_id.startswith(incomplete):
            yield job.job_id, job.display_name or job.kind


def _kinds(client: JobClient, incomplete: str) -> Iterator[tuple[str, str]]:
    for one in client.statistics.get_job_stats().kinds:
        if one.kind.startswith(incomplete):
            yield one.kind, ""


def _asked(context: typer.Context, ask: Callable[[JobClient], Iterator[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return what the server of the command line says, or nothing: a shell that completes cannot show errors."""
    options = _given(context.params).over(_given(context.parent.params if context.parent else {}))
    session = Session(replace(options, timeout=_PATIENCE_SECONDS))
    with contextlib.suppress(JobledgerError, ValueError, OSError, typer.BadParameter), session.client() as client:
        return list(ask(client))
    return []


def _given(parameters: Mapping[str, Any]) -> Options:
    return Options(**{one.name: parameters.get(one.name) for one in fields(Options)})
