"""ImportService: read each job, submit some at a time, count."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from jobledger.v1 import chunk_pb2
from jobledger.v1 import import_service_pb2 as api
from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.convert import CHUNK_STATES_BY_NUMBER, JOB_STATES_BY_NUMBER
from jobledger_service.core.api.errors import entry_error
from jobledger_service.core.api.job_requests import NewId, fingerprint, new_job
from jobledger_service.core.api.worker_requests import RequestContext, artifacts_of, output_of
from jobledger_service.core.model.bounds.limits import MAX_CHUNKS, MAX_JOB_ARTIFACTS, MAX_TASK_ID
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.job import uid_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.model.states import ENDED, ChunkState, JobState
from jobledger_service.core.write.committer import Committer
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .commands import ImportJobs, JobImport
from .imported_job import ChunkEnd, ImportedJob, with_finalizer
from .rules import check

MAX_JOBS_PER_REQUEST: Final = 500
MAX_RETRIES: Final = 1_000_000
MAX_ATTEMPTS: Final = 1_000

MAX_REFUSALS: Final = 100
JOBS_PER_SLICE: Final = 20
"""Jobs for about a millisecond of reading."""

IMPORT_SERVICE: Final = api.DESCRIPTOR.services_by_name["ImportService"]
METHODS: Final = (Method(IMPORT_SERVICE, "ImportJobs", Role.OWNER_ADMIN, Kind.WRITE, waits=True),)


def read_job(message: api.ImportedJob, owner: str, context: RequestContext, uid: bytes) -> JobImport:
    """Return an imported job of an owner; raises InvalidField with the fields that are wrong."""
    now = context.clock()
    job = message.job
    with Checks(context.schemes) as checks:
        if not job.job_id:
            checks.fault("job.job_id", "is required")
        if job.request_id:
            checks.fault("job.request_id", "must be absent for an imported job: its job_id makes a retry safe")
        for name in ("validate_only", "unique_key", "on_conflict", "limited_labels"):
            if getattr(job, name):
                checks.fault(f"job.{name}", "must be absent for an imported job")
        if job.HasField("unique_window"):
            checks.fault("job.unique_window", "must be absent for an imported job")
        checks.count("artifacts", len(message.artifacts), MAX_JOB_ARTIFACTS)
        checks.count("chunks", len(message.chunks), MAX_CHUNKS)
        new, inputs = new_job(checks, job, owner, job.job_id, uid, mark=fingerprint(message))
        imported = ImportedJob(
            new=new,
            state=_state(checks, message.state),
            create_time=_time(checks, message, "create_time") or Micros(0),
            start_time=_time(checks, message, "start_time"),
            end_time=_time(checks, message, "end_time"),
            error=_error(checks, "error", message),
            result_uri=message.result_uri,
            artifacts=artifacts_of(checks, "artifacts", message.artifacts, now),
            retry_count=message.retry_count,
            cancel_reason=message.cancel_reason,
            chunks=_chunks(checks, message),
            output=output_of(checks, "", message),
        )
        _check_rest(checks, message)
    imported = with_finalizer(imported)
    check(imported, now)
    return JobImport(imported, inputs)


def _check_rest(checks: Checks, message: api.ImportedJob) -> None:
    if not message.HasField("create_time"):
        checks.fault("create_time", "is required")
    checks.within("retry_count", message.retry_count, 0, MAX_RETRIES)
    checks.at_most("cancel_reason", message.cancel_reason, 1_024)
    if message.result_uri:
        checks.uri("result_uri", message.result_uri)


def _state(checks: Checks, number: int) -> JobState:
    state = JOB_STATES_BY_NUMBER.get(number)
    if state in ENDED or state is JobState.QUEUED:
        return state
    checks.fault("state", f"value {state or number} must be QUEUED, COMPLETED, FAILED or CANCELLED")
    return JobState.QUEUED


def _time(checks: Checks, message: Any, name: str, path: str = "") -> Micros | None:  # noqa: ANN401  jobs and chunks
    return checks.time_of_job(path + name, getattr(message, name)) if message.HasField(name) else None


def _error(checks: Checks, field: str, message: Any) -> WorkError | None:  # noqa: ANN401  jobs and chunks
    if not message.HasField("error"):
        return None
    error: chunk_pb2.WorkError = message.error
    checks.at_most(f"{field}.code", error.code, 128, min_length=1)
    checks.at_most(f"{field}.message", error.message, 4_096)
    checks.at_most(f"{field}.stage", error.stage, 128)
    index = error.chunk_index if error.HasField("chunk_index") else None
    checks.within(f"{field}.chunk_index", error.chunk_index, 0, MAX_CHUNKS - 1)
    return WorkError(error.code, error.message, error.stage, index)


def _chunks(checks: Checks, message: api.ImportedJob) -> Mapping[int, ChunkEnd]:
    ends: dict[int, ChunkEnd] = {}
    for place, chunk in enumerate(message.chunks):
        field = f"chunks[{place}]"
        state = CHUNK_STATES_BY_NUMBER.get(chunk.state)
        if state not in (ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED):
            checks.fault(f"{field}.state", f"value {state or chunk.state} must be COMPLETED, FAILED or CANCELLED")
            continue
        if not chunk.HasField("index"):
            checks.fault(f"{field}.index", "is required; 0 is the first chunk")
        elif chunk.index in ends:
            checks.fault(f"{field}.index", f"value {chunk.index} must be unique")
        if chunk.HasField("error") and state is not ChunkState.FAILED:
            checks.fault(f"{field}.error", f"must be absent for a {state} chunk; only a FAILED one has an error")
        if chunk.HasField("output") and state is not ChunkState.COMPLETED:
            checks.fault(f"{field}.output", f"must be absent for a {state} chunk; only a COMPLETED one has it")
        ends[chunk.index] = _chunk(checks, field, chunk, state)
    return ends


def _chunk(checks: Checks, field: str, chunk: api.ImportedChunk, state: ChunkState) -> ChunkEnd:
    checks.at_most(f"{field}.task_id", chunk.task_id, MAX_TASK_ID)
    checks.at_most(f"{field}.worker", chunk.worker, 256)
    checks.within(f"{field}.attempt", chunk.attempt, 0, MAX_ATTEMPTS)
    start = _time(checks, chunk, "start_time", f"{field}.")
    end = _time(checks, chunk, "end_time", f"{field}.")
    if start is not None and end is not None and end < start:
        checks.fault(f"{field}.end_time", f"value {time_text(end)} must not be before start_time, {time_text(start)}")
    return ChunkEnd(
        state=state,
        task_id=chunk.task_id,
        worker=chunk.worker,
        start_time=start,
        end_time=end,
        error=_error(checks, f"{field}.error", chunk),
        attempt=chunk.attempt if chunk.HasField("attempt") else None,
        output=output_of(checks, field, chunk),
    )


class _ImportCounts(MsgStruct):
    """The results of the jobs so far."""

    response: api.ImportJobsResponse = field(default_factory=api.ImportJobsResponse)
    number: int = 0

    def count(self, job_id: str, outcome: bool | Refusal) -> None:  # noqa: FBT001  an outcome
        if isinstance(outcome, Refusal):
            self.response.refused += 1
            if self.response.refused <= MAX_REFUSALS:
                self.response.refusals.add(number=self.number, job_id=job_id, error=entry_error(outcome))
        elif outcome:
            self.response.imported += 1
        else:
            self.response.unchanged += 1
        self.number += 1


class ImportService(MsgStruct, frozen=True):
    """The call of ImportService."""

    committer: Committer
    request_context: RequestContext
    new_id: NewId

    async def ImportJobs(
        self, requests: AsyncIterator[api.ImportJobsRequest], caller: Caller
    ) -> api.ImportJobsResponse:
        counts, before = _ImportCounts(), None
        try:
            async for request in requests:
                with Checks() as checks:
                    checks.count("jobs", len(request.jobs), MAX_JOBS_PER_REQUEST)
                read = await self._read_all(request, caller.owner)  # while those before are written
                if before is not None:
                    await before
                before = asyncio.create_task(self._write(request, read, caller, counts))
        finally:
            if before is not None:
                await before
        return counts.response

    async def _read_all(self, request: api.ImportJobsRequest, owner: str) -> list[JobImport | Refusal]:
        """Read the jobs of a request, some at a time, so that other calls run between them."""
        read: list[JobImport | Refusal] = []
        for number, message in enumerate(request.jobs):
            if number % JOBS_PER_SLICE == 0:
                await asyncio.sleep(0)
            try:
                read.append(read_job(message, owner, self.request_context, uid_of(self.new_id())))
            except Refusal as refusal:
                read.append(refusal)
        return read

    async def _write(
        self,
        request: api.ImportJobsRequest,
        read: Sequence[JobImport | Refusal],
        caller: Caller,
        counts: _ImportCounts,
    ) -> None:
        valid = [job for job in read if isinstance(job, JobImport)]
        outcomes = chain.from_iterable(
            [await self.committer.submit(ImportJobs(jobs, caller.name)) for jobs in _steps(valid)]
        )
        for message, job in zip(request.jobs, read, strict=True):
            counts.count(message.job.job_id, job if isinstance(job, Refusal) else next(outcomes))


def _steps(jobs: Sequence[JobImport]) -> Iterator[Sequence[JobImport]]:
    """Yield the jobs in steps of at most the rows of a batch; a larger job is a step by itself."""
    begin = rows = 0
    for place, job in enumerate(jobs):
        if place > begin and rows + job.weight > MAX_BATCH_ROWS:
            yield jobs[begin:place]
            begin, rows = place, 0
        rows += job.weight
    if jobs:
        yield jobs[begin:]
