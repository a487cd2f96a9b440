"""Shell completion of ids and kinds, which the server must return within two seconds."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import typer

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import JobView
from jobledger_client._sync._client import JobClient
from jobledger_client.cli._session import Options, Session

_TIMEOUT = timedelta(seconds=2)
_MAX_COMPLETIONS = 50


def job_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs whose id has this prefix, with their names."""
    return _complete(context, lambda client: _job_ids(client, incomplete))


def kinds(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the kinds with this prefix."""
    return _complete(context, lambda client: _kinds(client, incomplete))


def _job_ids(client: JobClient, incomplete: str) -> Iterator[tuple[str, str]]:
    page = next(client.list_jobs(view=JobView.STATUS, page_size=_MAX_COMPLETIONS).pages())
    for job in page.jobs:
        if job.job_id.startswith(incomplete):
            yield job.job_id, job.display_name or job.kind


def _kinds(client: JobClient, incomplete: str) -> Iterator[tuple[str, str]]:
    for kind_stats in client.statistics.get_job_stats().kinds:
        if kind_stats.kind.startswith(incomplete):
            yield kind_stats.kind, ""


def _complete(context: typer.Context, read: Callable[[JobClient], Iterator[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return the completions from the server, or none: a shell cannot show errors of a completion."""
    options = _options(context.params).over(_options(context.parent.params if context.parent else {}))
    session = Session(replace(options, timeout=_TIMEOUT))
    with contextlib.suppress(JobledgerError, ValueError, OSError, typer.BadParameter), session.client() as client:
        return list(read(client))
    return []


def _options(parameters: Mapping[str, Any]) -> Options:
    return Options(**{field.name: parameters.get(field.name) for field in fields(Options)})
