"""The chunks that CreateJob describes: their items, their inputs, and the finalizer."""

from collections.abc import Sequence
from typing import Final

from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.model.bounds import limits
from jobledger_service.core.model.chunk import WHOLE
from jobledger_service.core.model.job import Inputs
from jobledger_service.core.model.lifecycle import sizes_of

from .checks import Checks

MAX_JOB_INPUT_BYTES: Final = 2 * 1024 * 1024
MAX_FINALIZER_WEIGHT: Final = 1_000


def chunk_count(request: api.CreateJobRequest) -> int:
    """Return the number of chunks of a valid request."""
    more = request.HasField("finalizer")
    if request.chunks or not request.HasField("item_count"):
        return max(len(request.chunks), 1) + more
    size = request.chunk_size if request.HasField("chunk_size") else limits.ITEMS_PER_CHUNK
    return max(min(-(-request.item_count // max(size, 1)), limits.MAX_CHUNKS), 1) + more


def chunk_sizes(checks: Checks, request: api.CreateJobRequest) -> Sequence[int]:
    """Return the items of each chunk but the finalizer, 0 for a chunk without items."""
    if request.chunks:
        return _sizes_of_chunks(checks, request)
    if not request.HasField("item_count"):
        if request.HasField("chunk_size"):
            checks.fault("chunk_size", "must be absent without item_count")
        return sizes_of(None, 1)
    size = request.chunk_size if request.HasField("chunk_size") else limits.ITEMS_PER_CHUNK
    checks.within("chunk_size", size, 1, limits.MAX_ITEMS)
    checks.within("item_count", request.item_count, 1, limits.MAX_ITEMS)
    total = -(-request.item_count // max(size, 1))
    if total > _max_chunks(request):
        least = -(-request.item_count // _max_chunks(request))
        checks.fault(
            "chunk_size", f"value {size} must be at least {least}: a job has at most {limits.MAX_CHUNKS} chunks"
        )
        return ()
    return sizes_of(request.item_count, max(size, 1))


def _sizes_of_chunks(checks: Checks, request: api.CreateJobRequest) -> Sequence[int]:
    checks.count("chunks", len(request.chunks), _max_chunks(request))
    if request.HasField("item_count"):
        checks.fault("item_count", "must not be combined with chunks")
    if request.HasField("chunk_size"):
        checks.fault("chunk_size", "must not be combined with chunks")
    sizes = []
    for index, chunk in enumerate(request.chunks):
        size = chunk.item_count if chunk.HasField("item_count") else 1
        checks.within(f"chunks[{index}].item_count", size, 1, limits.MAX_ITEMS)
        sizes.append(size)
    if sum(sizes) > limits.MAX_ITEMS_OF_JOB:
        checks.fault("chunks", f"must have at most {limits.MAX_ITEMS_OF_JOB} items together; got {sum(sizes)}")
    return sizes


def _max_chunks(request: api.CreateJobRequest) -> int:
    """Return how many chunks a job may have beside its finalizer."""
    return limits.MAX_CHUNKS - request.HasField("finalizer")


def read_finalizer_work(checks: Checks, request: api.CreateJobRequest, sizes: Sequence[int]) -> int | None:
    """Return the finalizer's work in millionths of an item: that of an average chunk, times its weight."""
    if not request.HasField("finalizer"):
        return None
    if not request.chunks and not request.HasField("item_count"):
        checks.fault("finalizer", "must be absent without item_count or chunks: it follows other chunks")
    weight = request.finalizer.weight if request.finalizer.HasField("weight") else 1.0
    if not 0 < weight <= MAX_FINALIZER_WEIGHT:
        checks.fault("finalizer.weight", f"value {weight:g} must be above 0 and at most {MAX_FINALIZER_WEIGHT}")
        return None
    average = WHOLE * sum(min(max(size, 1), limits.MAX_ITEMS) for size in sizes) // max(len(sizes), 1)
    return max(round(average * weight), 1)


def read_inputs(checks: Checks, request: api.CreateJobRequest, sizes: Sequence[int]) -> Inputs:
    """Return the inputs of the job and its chunks."""
    max_bytes = limits.MAX_INPUT_BYTES
    of_job = checks.struct("input", request.input, max_bytes) if request.HasField("input") else None
    of_chunks = {
        index: checks.struct(f"chunks[{index}].input", chunk.input, max_bytes)
        for index, chunk in enumerate(request.chunks)
        if chunk.HasField("input")
    }
    if request.finalizer.HasField("input"):
        of_chunks[len(sizes)] = checks.struct("finalizer.input", request.finalizer.input, max_bytes)
    together = sum(map(len, of_chunks.values()))
    if together > MAX_JOB_INPUT_BYTES:
        checks.fault("chunks", f"must have at most {MAX_JOB_INPUT_BYTES} bytes of input together; got {together}")
    return Inputs(of_job, of_chunks)
