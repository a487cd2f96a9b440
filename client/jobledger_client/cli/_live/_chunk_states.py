"""The state of every chunk of a watched job, a byte each, from the messages of a watch and lists of chunks."""

from collections.abc import Iterable
from enum import IntEnum

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_service_pb2 import ListChunksResponse, WatchJobResponse

from jobledger_client._generated._enums import ChunkState


class Shown(IntEnum):
    """What is shown of a chunk. Of several chunks in one place the highest is shown."""

    COMPLETED = 1
    PENDING = 2
    CANCELLED = 3
    PROCESSING = 4
    RETRYING = 5
    """PENDING after a failed attempt."""
    FAILED = 6
    UNREADABLE = 7


LISTED_STATES = tuple(state for state in ChunkState if state != ChunkState.COMPLETED)
"""The states that a list for `ChunkStates.end_load` selects: all other chunks are COMPLETED, which is final."""
_BY_STATE = {
    ChunkState.PENDING: Shown.PENDING,
    ChunkState.PROCESSING: Shown.PROCESSING,
    ChunkState.COMPLETED: Shown.COMPLETED,
    ChunkState.FAILED: Shown.FAILED,
    ChunkState.CANCELLED: Shown.CANCELLED,
}


def shown(chunk: Chunk) -> Shown:
    """Return the state that a chunk is shown in."""
    if chunk.state == ChunkState.PENDING and chunk.HasField("error"):
        return Shown.RETRYING
    return _BY_STATE.get(ChunkState(chunk.state), Shown.UNREADABLE)


class ChunkStates:
    """The chunks of one job. Messages of a watch in mode LATEST may omit chunks; then `needs_load` is true.

    A load is a list of the chunks in `LISTED_STATES`, read while messages go on: what a message says of a chunk since
    the load began stands. Chunks whose list was earlier than their last change are corrected by the messages to come.
    """

    def __init__(self) -> None:
        self.marks = bytearray()
        """A `Shown` for each chunk, by index; empty until all are known."""
        self.in_work: dict[int, Chunk] = {}
        self.errors: dict[int, tuple[str, str]] = {}
        """Code and stage of the chunks whose latest attempt failed, by index."""
        self.needs_load = False
        self._revision: int | None = None
        self._newer = bytearray()

    def apply(self, message: WatchJobResponse) -> None:
        """Apply one message, in a view with chunks."""
        job, total = message.job, message.job.chunks_summary.total
        if len(self._newer) != total:
            self._newer = bytearray(total)
        before = job.revision - message.merged_revision_count - 1
        is_whole = len(job.chunks) == total
        if message.chunks_omitted:
            self.in_work.clear()
        if is_whole:
            self.marks, self.in_work, self.errors, self.needs_load = bytearray(total), {}, {}, False
        elif self._revision is None or before > self._revision or message.chunks_omitted:
            self.needs_load = True
        for run in message.chunk_ranges:
            self._set_range(run.first_index, run.last_index + 1, _BY_STATE.get(ChunkState(run.state), Shown.UNREADABLE))
        for chunk in (*job.chunks, *message.chunks):
            self._newer[chunk.index] = shown(chunk)
            self._set(chunk)
        self._revision = job.revision

    def begin_load(self) -> None:
        """Begin a load: messages from now on are newer than its chunks."""
        self.needs_load = False
        self._newer = bytearray(len(self._newer))

    def end_load(self, pages: Iterable[ListChunksResponse]) -> None:
        """Set all chunks by the pages of a list that was read since `begin_load`."""
        newer = self._newer
        self.marks = bytearray([Shown.COMPLETED]) * len(newer)
        kept = {index: chunk for index, chunk in self.in_work.items() if newer[index]}
        errors = {index: error for index, error in self.errors.items() if newer[index]}
        self.in_work, self.errors = kept, errors
        for page in pages:
            for chunk in page.chunks:
                if not newer[chunk.index]:
                    self._set(chunk)
            for index in page.unreadable_chunk_indexes:
                self.marks[index] = Shown.UNREADABLE
        self.marks = bytearray(new or loaded for new, loaded in zip(newer, self.marks, strict=True))

    def _set(self, chunk: Chunk) -> None:
        index, mark = chunk.index, shown(chunk)
        if self.marks:
            self.marks[index] = mark
        if mark == Shown.PROCESSING:
            self.in_work[index] = chunk
        else:
            self.in_work.pop(index, None)
        if chunk.HasField("error"):
            self.errors[index] = (chunk.error.code, chunk.error.stage)
        else:
            self.errors.pop(index, None)

    def _set_range(self, start: int, end: int, mark: Shown) -> None:
        run = bytes([mark]) * (end - start)
        self._newer[start:end] = run
        if self.marks:
            self.marks[start:end] = run
        for held in (self.in_work, self.errors):
            for index in [index for index in held if start <= index < end]:
                del held[index]
