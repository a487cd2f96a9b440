"""ExportJobs: the request, and the pieces of its answer."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from typing import Final

from jobledger.v1 import export_pb2
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.checks import LABEL, Checks, shown
from jobledger_service.core.api.list_requests import filter_of
from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.limits import MAX_LABELS
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Calls, Kind, Method

from .export import Exports
from .lines import COLUMNS, Lines, lines_of
from .store import SqlExportStore

_FORMATS: Final = (export_pb2.EXPORT_FORMAT_CSV, export_pb2.EXPORT_FORMAT_JSON_LINES)


def export(request: export_pb2.ExportJobsRequest, caller: Caller) -> tuple[JobFilter, Lines]:
    """Return the filter and the format of ExportJobs."""
    with Checks() as checks:
        wanted = filter_of(checks, request, caller)
        if request.format not in _FORMATS:
            checks.fault(
                "format",
                "is required: CSV or JSON_LINES"
                if not request.format
                else f"value {request.format} must be CSV or JSON_LINES",
            )
        _check_columns(checks, request.columns)
        _check_labels(checks, request.label_columns)
    return wanted, lines_of(request.format, request.columns, request.label_columns)


def _check_columns(checks: Checks, names: Sequence[str]) -> None:
    checks.count("columns", len(names), len(COLUMNS))
    for index, name in enumerate(names):
        if name not in COLUMNS:
            checks.fault(f"columns[{index}]", f"value {shown(name)} must be the name of a column; {_nearest(name)}")
    _once(checks, "columns", names)


def _nearest(name: str) -> str:
    near = get_close_matches(name[:64].lower(), COLUMNS, n=1, cutoff=0.5)
    return f"the nearest is {near[0]!r}" if near else "columns include job_id, state, create_time"


def _check_labels(checks: Checks, names: Sequence[str]) -> None:
    checks.count("label_columns", len(names), MAX_LABELS)
    for index, name in enumerate(names):
        rule = "the name of a label: 1 to 63 characters of A-Z a-z 0-9 . _ / -"
        checks.form(f"label_columns[{index}]", name, LABEL, rule)
    _once(checks, "label_columns", names)


def _once(checks: Checks, field: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            checks.fault(field, f"must name {shown(name)} only once; got it {times} times")


METHODS: Final = (
    Method(JOB_SERVICE, "ExportJobs", Role.CALLER, Kind.WATCH,
        ("PAGE_TOKEN_INVALID", "HISTORY_TRIMMED", "CURSOR_AHEAD", "TOO_MANY_WATCHES", "QUOTA_EXCEEDED"), waits=True),
)  # fmt: skip


class ExportCalls(MsgStruct, frozen=True):
    """The method of JobService that exports."""

    exports: Exports

    async def ExportJobs(self, request: export_pb2.ExportJobsRequest, caller: Caller) -> AsyncGenerator[bytes]:
        wanted, lines = export(request, caller)
        async with aclosing(self.exports.open(wanted, lines, request.resume_token)) as opened:
            async for piece in opened:
                yield piece.SerializeToString()


def exports(kernel: Kernel) -> Feature:
    """Return what exports add to a server."""
    opened = Exports(SqlExportStore(kernel.database), kernel.tokens, kernel.cursors, kernel.unreadable)
    return Feature(calls=[Calls(METHODS, ExportCalls(opened))], drain=opened.drain, close=opened.close)
