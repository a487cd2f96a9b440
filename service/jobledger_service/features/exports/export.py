"""The export: every job that matches a filter, all as of one position, in pieces that can be resumed."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from jobledger.v1.export_pb2 import ExportJobsResponse
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchMessageType
from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.api.codec import whole
from jobledger_service.core.api.parse import filter_fields
from jobledger_service.core.ledger.cursor import Cursors
from jobledger_service.core.ledger.paging import PageTokens, request_mark
from jobledger_service.core.ledger.readers import SharedReaders
from jobledger_service.core.model.errors import CursorAhead, Draining
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.search import match_prefixes
from jobledger_service.core.store.unreadable_rows import UnreadableRows

from .lines import Lines
from .page import BEGIN, ExportedJob, ExportKey
from .store import SqlExportStore

P = ParamSpec("P")
R = TypeVar("R")

_DELETED: Final = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
JOBS_PER_PAGE: Final = 1_000
"""Jobs read in one snapshot: 0.02 to 0.1 s on one core."""
PIECE_BYTES: Final = 64 * 1024
"""Bytes at which a piece ends."""


class _ExportProgress(MsgStruct, frozen=True):
    """The progress of an export; its token contains it."""

    position: int
    jobs: int
    place: ExportKey = BEGIN
    looked_at: int = 0
    rows: int = 0
    unreadable: int = 0

    def token(self, tokens: PageTokens, mark: str) -> str:
        return tokens.encode(mark, *self.place, self.position, self.jobs, self.looked_at, self.rows, self.unreadable)

    @classmethod
    def parse(cls, tokens: PageTokens, token: str, mark: str) -> "_ExportProgress | None":
        values = tokens.parse(token, mark, tuple[int, str, int, int, int, int, int], "resume_token")
        if values is None:
            return None
        create_time, key, position, jobs, *counted = values
        return cls(position, jobs, ExportKey(create_time, key), *counted)

    @property
    def percent(self) -> float:
        return min(self.looked_at * 100 / self.jobs, 100.0) if self.jobs else 0.0


class Exports:
    """Opens exports. Owners take turns, page by page, on a thread of its own, so that other reads do not wait."""

    def __init__(self, store: SqlExportStore, tokens: PageTokens, cursors: Cursors, unreadable: UnreadableRows) -> None:
        self._store = store
        self._tokens = tokens
        self._unreadable = unreadable
        self._cursors = cursors
        self._readers = SharedReaders("exporter", 1)
        self._closed = False

    def drain(self) -> None:
        """End all exports with DRAINING; each continues elsewhere with its last token."""
        self._closed = True

    async def close(self) -> None:
        """Wait for the running page."""
        self._readers.close()

    async def open(self, wanted: JobFilter, lines: Lines, token: str) -> AsyncGenerator[ExportJobsResponse]:
        """Yield the export, or what of it comes after a token, in whole lines.

        Raises PageTokenInvalid, CursorAhead, HistoryTrimmed, Draining, StoreUnavailable.
        """
        mark = request_mark("export", wanted, lines.mark)
        reached = _ExportProgress.parse(self._tokens, token, mark)
        head = b""
        if reached is None:
            start = await self._run(wanted.owner, self._store.start_export, wanted)
            reached, head = _ExportProgress(*start), lines.head
        more = True
        while more:
            cursor = self._cursors.encode(reached.position)
            page = _Page(wanted, lines, self._tokens, mark, cursor, reached, head, self._unreadable)
            pieces = await self._run(wanted.owner, page.read, self._store)
            for piece in pieces:
                self._check_open()
                yield piece
            reached, head, more = page.reached, b"", bool(pieces[-1].resume_token)

    async def _run(self, owner: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._check_open()
        return await self._readers.run(owner, work, *args, **kwargs)

    def _check_open(self) -> None:
        if self._closed:
            raise Draining


class _Page(MsgStruct):
    """Reads and formats the jobs of one page, on the exporter's thread."""

    wanted: JobFilter
    lines: Lines
    tokens: PageTokens
    mark: str
    cursor: bytes
    reached: _ExportProgress
    data: bytes
    unreadable_rows: UnreadableRows

    def read(self, store: SqlExportStore) -> list[ExportJobsResponse]:
        """Return the page in pieces, at least one: the last tells how far the page has come."""
        begun = self.reached
        page = store.export_page(self.wanted, begun.position, begun.place, JOBS_PER_PAGE)
        if page.position < begun.position:
            raise CursorAhead(begun.position, page.position)
        pieces, written, size, reached = [], [self.data], len(self.data), begun
        for shown in page.shown:
            line, broken = self._line(shown)
            if not line:
                continue
            if size and size + len(line) > PIECE_BYTES:
                self.reached = reached
                pieces.append(self._piece(written))
                written, size = [], 0
            written.append(line)
            size += len(line)
            unreadable = reached.unreadable + broken
            reached = replace(reached, place=shown.place, rows=reached.rows + 1, unreadable=unreadable)
        looked_at = begun.looked_at + page.looked_at
        self.reached = replace(reached, place=page.through or reached.place, looked_at=looked_at)
        return [*pieces, self._piece(written, last=page.through is None)]

    def _line(self, shown: ExportedJob) -> tuple[bytes, bool]:
        """Return the line of a job, nothing for one that is not wanted, and whether the job could not be shown."""
        try:
            return self._written(shown), False
        except Exception as error:  # noqa: BLE001  whatever is wrong with one job is wrong with it alone
            self.unreadable_rows.add("export", shown.place.job_key, error)
            return self.lines.of_unreadable(shown.place, error), True

    def _written(self, shown: ExportedJob) -> bytes:
        if shown.error is not None:
            raise shown.error
        job = job_of(shown)
        return b"" if job is None or not self._is_wanted(shown, job) else self.lines.of_job(job)

    def _is_wanted(self, shown: ExportedJob, job: Job) -> bool:
        if shown.event is None:  # the store found it by all of the filter but the words that it searches for
            searched = self.wanted.search
            return not searched or match_prefixes(searched, filter_fields(job).words)
        # the job_id may have been reused: then the event is of another job, which has its own place
        found = filter_fields(job)
        return found.create_time == shown.place.create_time and self.wanted.matches(found)

    def _piece(self, written: Sequence[bytes], *, last: bool = False) -> ExportJobsResponse:
        reached = self.reached
        return ExportJobsResponse(
            data=b"".join(written),
            resume_token="" if last else reached.token(self.tokens, self.mark),
            cursor=self.cursor,
            row_count=reached.rows,
            percent=100.0 if last else reached.percent,
            unreadable_row_count=reached.unreadable,
        )


def job_of(shown: ExportedJob) -> Job | None:
    """Return a job of a page as a message in view BASIC; None when its event is that of its deletion."""
    if shown.job:
        return Job.FromString(shown.job)
    message = WatchJobResponse.FromString(whole(shown.event)) if shown.event else None
    return None if message is None or message.type == _DELETED else message.job
