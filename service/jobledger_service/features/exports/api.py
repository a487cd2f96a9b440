"""ExportJobs: the request, and the pieces of its answer."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from difflib import get_close_matches
from typing import Final, ParamSpec, TypeVar

from jobledger.v1 import export_pb2
from jobledger.v1.export_pb2 import ExportJobsResponse
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchMessageType
from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.api.checks import LABEL, LABEL_FORM, Checks, shown
from jobledger_service.core.api.codec import whole
from jobledger_service.core.api.list_requests import filter_of
from jobledger_service.core.api.parse import filter_fields
from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import MAX_LABELS
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.filters.search import match_prefixes
from jobledger_service.core.model.history.terms import Point
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import Draining, HistoryLost
from jobledger_service.core.read.paging import PageTokens, request_mark
from jobledger_service.core.read.readers import SharedReaders
from jobledger_service.core.watch.live_feed import LiveFeed
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .lines import EXPORT_COLUMNS, Lines, lines_of
from .store import BEGIN, ExportedJob, ExportKey, SqlExportStore

P = ParamSpec("P")
R = TypeVar("R")

_DELETED: Final = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
JOBS_PER_PAGE: Final = 1_000
"""Jobs read in one snapshot: 0.02 to 0.1 s on one core."""
PIECE_BYTES: Final = 64 * 1024
"""Bytes at which a piece ends."""

_FORMATS: Final = (export_pb2.EXPORT_FORMAT_CSV, export_pb2.EXPORT_FORMAT_JSON_LINES)

METHODS: Final = (Method(JOB_SERVICE, "ExportJobs", Role.CALLER, Kind.WATCH, waits=True),)


class _ExportProgress(MsgStruct, frozen=True):
    """The progress of an export; its token contains it."""

    point: Point
    jobs: int
    place: ExportKey = BEGIN
    looked_at: int = 0
    rows: int = 0
    unreadable: int = 0

    def token(self, tokens: PageTokens, mark: str) -> str:
        return tokens.encode(mark, *self.place, *self.point, self.jobs, self.looked_at, self.rows, self.unreadable)

    @classmethod
    def parse(cls, tokens: PageTokens, token: str, mark: str) -> "_ExportProgress | None":
        read = tokens.read(token, mark, tuple[Micros, str, int, int, int, int, int, int], "resume_token")
        if read is None:
            return None
        _, (create_time, key, position, term, jobs, *counted) = read
        return cls(Point(position, term), jobs, ExportKey(create_time, key), *counted)

    @property
    def percent(self) -> float:
        return min(self.looked_at * 100 / self.jobs, 100.0) if self.jobs else 0.0


class Exports:
    """Opens exports. Owners take turns, page by page, on a thread of its own, so that other reads do not wait."""

    def __init__(
        self,
        store: SqlExportStore,
        tokens: PageTokens,
        cursors: Cursors,
        unreadable: UnreadableRows,
        feed: LiveFeed,
    ) -> None:
        self.store, self.tokens, self.cursors, self.unreadable = store, tokens, cursors, unreadable
        self._feed = feed
        self._readers = SharedReaders("exporter", 1)
        self._closed = False

    def drain(self) -> None:
        """End all exports with DRAINING; each continues elsewhere with its last token."""
        self._closed = True

    async def close(self) -> None:
        """Wait for the running page."""
        self._readers.close()

    def ExportJobs(self, request: export_pb2.ExportJobsRequest, caller: Caller) -> AsyncGenerator[Sequence[bytes]]:
        return self.open(*export(request, caller), request.resume_token)

    async def open(self, filter_: JobFilter, lines: Lines, token: str) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the export, or the rest of it after a token: pieces of whole lines, page by page.

        Raises PageTokenInvalid, HistoryLost, HistoryTrimmed, Draining, StoreUnavailable.
        """
        mark = request_mark("export", filter_, lines.mark)
        reached = _ExportProgress.parse(self.tokens, token, mark)
        head = b""
        if reached is None:
            losses = self._feed.losses
            position, count = await self._run(filter_.owner, self.store.start_export, filter_)
            self._feed.check_unbroken(losses)
            reached, head = _ExportProgress(self._feed.terms.point(position), count), lines.head
        more = True
        while more:
            page = _Page(self, filter_, lines, mark, reached, head)
            pieces = await self._run(filter_.owner, page.read)
            reached, head, more = page.reached, b"", bool(pieces[-1].resume_token)
            written = [piece.SerializeToString() for piece in pieces]
            del page, pieces
            yield written
            del written

    async def _run(self, owner: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._check_open()
        return await self._readers.run(owner, work, *args, **kwargs)

    def _check_open(self) -> None:
        if self._closed:
            raise Draining


class _Page(MsgStruct):
    """Reads and formats the jobs of one page, on the exporter's thread."""

    exports: Exports
    filter: JobFilter
    lines: Lines
    mark: str
    reached: _ExportProgress
    data: bytes

    def read(self) -> list[ExportJobsResponse]:
        """Return the page in pieces, at least one: the last one has the progress of the export."""
        begun = self.reached
        page = self.exports.store.export_page(self.filter, begun.point.position, begun.place, JOBS_PER_PAGE)
        if not self.exports.store.history.includes(begun.point):
            raise HistoryLost
        pieces, written, size, reached = [], [self.data], len(self.data), begun
        for exported in page.shown:
            line, broken = self._line(exported)
            if not line:
                continue
            if size and size + len(line) > PIECE_BYTES:
                self.reached = reached
                pieces.append(self._piece(written))
                written, size = [], 0
            written.append(line)
            size += len(line)
            unreadable = reached.unreadable + broken
            reached = replace(reached, place=exported.place, rows=reached.rows + 1, unreadable=unreadable)
        looked_at = begun.looked_at + page.looked_at
        self.reached = replace(reached, place=page.through or reached.place, looked_at=looked_at)
        return [*pieces, self._piece(written, last=page.through is None)]

    def _line(self, exported: ExportedJob) -> tuple[bytes, bool]:
        """Return the line of a job, empty for one that does not match, and whether the job could not be shown."""
        try:
            job = job_of(exported)
            return b"" if job is None or not self._is_wanted(exported, job) else self.lines.of_job(job), False
        except Exception as error:  # noqa: BLE001  an unreadable job must not end the export
            self.exports.unreadable.add("export", exported.place.job_key, error)
            return self.lines.of_unreadable(exported.place, error), True

    def _is_wanted(self, exported: ExportedJob, job: Job) -> bool:
        if exported.event is None:  # the store found it by all of the filter but the words that it searches for
            searched = self.filter.search
            return not searched or match_prefixes(searched, filter_fields(job).words)
        # the job_id may have been reused: then the event is of another job, which has its own place
        fields = filter_fields(job)
        return fields.create_time == exported.place.create_time and self.filter.matches(fields)

    def _piece(self, written: Sequence[bytes], *, last: bool = False) -> ExportJobsResponse:
        reached = self.reached
        return ExportJobsResponse(
            data=b"".join(written),
            resume_token="" if last else reached.token(self.exports.tokens, self.mark),
            cursor=self.exports.cursors.encode_point(reached.point),
            row_count=reached.rows,
            percent=100.0 if last else reached.percent,
            unreadable_row_count=reached.unreadable,
        )


def job_of(exported: ExportedJob) -> Job | None:
    """Return a job of a page as a message in view BASIC; None when its event is its deletion.

    Raises the error of a job that cannot be read.
    """
    if exported.error is not None:
        raise exported.error
    if exported.job:
        return Job.FromString(exported.job)
    message = WatchJobResponse.FromString(whole(exported.event)) if exported.event else None
    return None if message is None or message.type == _DELETED else message.job


def export(request: export_pb2.ExportJobsRequest, caller: Caller) -> tuple[JobFilter, Lines]:
    """Return the filter and the format of ExportJobs."""
    with Checks() as checks:
        filter_ = filter_of(checks, request, caller)
        if request.format not in _FORMATS:
            problem = f"value {request.format} must be" if request.format else "is required:"
            checks.fault("format", f"{problem} CSV or JSON_LINES")
        _check_columns(checks, request)
    return filter_, lines_of(request.format, request.columns, request.label_columns)


def _check_columns(checks: Checks, request: export_pb2.ExportJobsRequest) -> None:
    for field, names, max_count in (
        ("columns", request.columns, len(EXPORT_COLUMNS)),
        ("label_columns", request.label_columns, MAX_LABELS),
    ):
        checks.count(field, len(names), max_count)
        for index, name in enumerate(names):
            if field == "label_columns":
                checks.form(f"{field}[{index}]", name, LABEL, f"the name of {LABEL_FORM}")
            elif name not in EXPORT_COLUMNS:
                checks.fault(f"{field}[{index}]", f"value {shown(name)} must be the name of a column; {_nearest(name)}")
        for name, times in Counter(names).items():
            if times > 1:
                checks.fault(field, f"must name {shown(name)} only once; got it {times} times")


def _nearest(name: str) -> str:
    near = get_close_matches(name[:64].lower(), EXPORT_COLUMNS, n=1, cutoff=0.5)
    return f"the nearest is {near[0]!r}" if near else "columns include job_id, state, create_time"
