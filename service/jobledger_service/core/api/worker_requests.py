"""Requests of WorkerService as commands."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message
from jobledger.v1 import chunk_pb2
from jobledger.v1 import worker_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.database.clock import Clock
from jobledger_service.core.model.bounds import limits
from jobledger_service.core.model.bounds.limits import DAY, SECOND
from jobledger_service.core.model.chunk import NO_ARTIFACTS, Artifact, Artifacts, WorkError
from jobledger_service.core.model.history.epoch import Epoch
from jobledger_service.core.model.job import job_key
from jobledger_service.core.model.leases import NO_LEASE, Lease
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.model.progress import NO_REPORT, ProgressReport
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure, Release, Results, WorkReport
from jobledger_service.core.write import commands
from jobledger_service.core.write.active_workers import WorkerInfo
from jobledger_service.transport.identity import Caller

from .checks import Checks, shown
from .owners import served_by

MAX_LEASES: Final = 1_000
MAX_METADATA_BYTES: Final = 4 * 1024
MAX_CLAIM_WAIT: Final = 300 * SECOND
MAX_DELAY: Final = 7 * DAY
MAX_SHOWN_KINDS: Final = 20
MAX_NAMED_QUEUES: Final = 2_000
"""Owners times kinds of a worker that serves owners by name: each of these queues is read."""

ReadRest = Callable[[Checks, Any], tuple[Any, ...]]
"""Returns what a report says beside its progress."""


class RequestContext(MsgStruct, frozen=True):
    """The context of requests: the clock, randomness (0 to 1), the URI schemes that the operator allows, the epoch."""

    clock: Clock
    sample_jitter: Callable[[], float]
    schemes: Sequence[str]
    epoch: Epoch


def claim_chunks(request: api.ClaimChunksRequest, caller: Caller) -> tuple[commands.ClaimChunks, float]:
    """Return the command of ClaimChunks, and the maximum wait in seconds."""
    with Checks() as checks:
        command, wait = _claim_chunks(checks, request, caller), checks.micros("wait", request.wait, 0, MAX_CLAIM_WAIT)
    return command, wait / SECOND


def worker_info(request: api.ClaimChunksRequest, command: commands.ClaimChunks) -> WorkerInfo:
    """Return what the worker of a checked claim says about itself."""
    return WorkerInfo(command.kinds[:MAX_SHOWN_KINDS], command.served, request.version, request.host)


def _next_chunks(claim: api.ClaimChunksRequest, caller: Caller) -> commands.ClaimChunks:
    """Return the claim that comes with reports."""
    with Checks() as checks:
        command = _claim_chunks(checks, claim, caller, "claim.")
        if claim.wait.ByteSize():
            checks.fault("claim.wait", "must be 0 s or absent")
    return command


def _claim_chunks(
    checks: Checks, request: api.ClaimChunksRequest, caller: Caller, path: str = ""
) -> commands.ClaimChunks:
    checks.kinds(f"{path}kinds", request.kinds)
    if not (request.kinds or request.job_ids):
        checks.fault(f"{path}kinds", "is required without job_ids")
    for index, kind in enumerate(request.kinds):
        checks.not_reserved(f"{path}kinds[{index}]", kind)
    checks.job_ids(f"{path}job_ids", request.job_ids, 100)
    if request.kinds and request.job_ids:
        checks.fault(f"{path}job_ids", "must be empty with kinds")
    checks.within(f"{path}max_chunks", request.max_chunks, 0, MAX_LEASES)
    checks.at_most(f"{path}request_id", request.request_id, 128)
    checks.at_most(f"{path}version", request.version, 64)
    checks.at_most(f"{path}host", request.host, 255)
    by = _claim(checks, request, path=path)
    kinds = tuple(sorted(set(request.kinds)))
    served = _served(checks, request, caller, path)
    job_keys: tuple[str, ...] = ()
    if request.job_ids:
        owner = _only(checks, served, caller, path)
        served = served and Owners(frozenset({owner}))
        job_keys = tuple(sorted({job_key(owner, job_id) for job_id in request.job_ids}))
    elif served is not None and len(served.names) * len(kinds) > MAX_NAMED_QUEUES:
        got = f"{len(kinds)} kinds of {len(served.names)} owners"
        checks.fault(f"{path}kinds", f"must be at most {MAX_NAMED_QUEUES:,}, times the named owners; got {got}")
    limit, serves = request.max_chunks or 1, served_by(caller)
    return commands.ClaimChunks(caller.owner, kinds, limit, by, job_keys, served, serves, request.request_id)


def _served(checks: Checks, request: api.ClaimChunksRequest, caller: Caller, path: str) -> Owners | None:
    """Return the owners whose chunks a claim is for, None for the caller's own alone."""
    served, callers_own = served_by(caller), Owners(frozenset({caller.owner}))
    checks.count(f"{path}owners", len(request.owners), limits.MAX_OWNERS)
    for index, owner in enumerate(request.owners):
        field = f"{path}owners[{index}]"
        checks.owner(field, owner)
        if owner not in (served or callers_own):
            checks.fault(field, _not_served(owner))
    return Owners(frozenset(request.owners)) if served and request.owners else served


def _not_served(owner: str) -> str:
    return f"value {shown(owner)} must be an owner that the key serves"


def _only(checks: Checks, served: Owners | None, caller: Caller, path: str) -> str:
    """Return the one owner of the jobs that a claim names."""
    if served is None:
        return caller.owner
    if served.all or len(served.names) > 1:
        checks.fault(f"{path}owners", "must be the one owner of job_ids, as the key serves several")
    return next(iter(served.names), caller.owner)


def watch_leases(request: api.WatchLeasesRequest, caller: Caller) -> tuple[Sequence[str], frozenset[str]]:
    """Return the owners and the kinds of the leases that a worker watches, no kinds for all.

    Of many owners, the leases of all kinds are watched: the worker checks those that it holds.
    """
    with Checks() as checks:
        checks.kinds("kinds", request.kinds)
        checks.at_most("worker", request.worker, 256, min_length=1)
    served, kinds = served_by(caller), frozenset(request.kinds)
    owners = [caller.owner] if served is None else served.listed
    return owners, kinds if len(owners) * len(kinds) <= MAX_NAMED_QUEUES else frozenset()


def claim_chunk(request: api.ClaimChunkRequest, caller: Caller) -> commands.ClaimChunk:
    """Return the command of ClaimChunk."""
    with Checks() as checks:
        checks.job_id("job_id", request.job_id)
        checks.uid("uid", request.uid)
        if request.HasField("chunk_index"):
            checks.at_least("chunk_index", request.chunk_index, 0)
        else:
            checks.fault("chunk_index", "is required; 0 is the first chunk")
        checks.at_most("task_id", request.task_id, limits.MAX_TASK_ID)
        by = _claim(checks, request, request.task_id)
        owner = _owner_of_chunk(checks, request, caller)
    return commands.ClaimChunk(owner, request.job_id, request.chunk_index, by, request.uid)


def _owner_of_chunk(checks: Checks, request: api.ClaimChunkRequest, caller: Caller) -> str:
    served = served_by(caller) or Owners(frozenset({caller.owner}))
    if request.owner:
        checks.owner("owner", request.owner)
        if request.owner not in served:
            checks.fault("owner", _not_served(request.owner))
        return request.owner
    if caller.owner in served:
        return caller.owner
    if len(served.names) > 1:
        checks.fault("owner", "is required, as the key serves several")
    return next(iter(served.names))


def _claim(checks: Checks, request: Any, task_id: str = "", path: str = "") -> Claim:  # noqa: ANN401  both claims
    checks.at_most(f"{path}worker", request.worker, 256, min_length=1)
    return Claim(request.worker, _lease_duration(checks, request, path) or limits.DEFAULT_LEASE, task_id)


def _lease_duration(checks: Checks, request: Any, path: str = "") -> int | None:  # noqa: ANN401  claims and heartbeats
    if not request.HasField("lease_duration"):
        return None
    return checks.micros(f"{path}lease_duration", request.lease_duration, SECOND, DAY)


def _lease_of(checks: Checks, field: str, token: str, epoch: Epoch) -> Lease:
    """Return the lease of a token. A token that this epoch did not create gets a lease that no worker holds."""
    try:
        return Lease.parse(token, epoch) or NO_LEASE
    except ValueError as error:
        checks.fault(field, str(error) if token else "is required")
        return NO_LEASE


def _report(checks: Checks, sent: api.ProgressReport, now: Micros) -> WorkReport:
    """Return a report; an absent one is empty, and an empty one has nothing new."""
    if not sent.ByteSize():
        return NOTHING_NEW
    progress = _progress(checks, sent)
    return WorkReport(
        progress=None if progress == NO_REPORT else progress,
        artifacts=artifacts_of(checks, "progress.artifacts", sent.artifacts, now),
        job_artifacts=artifacts_of(checks, "progress.job_artifacts", sent.job_artifacts, now),
        checkpoint=_checkpoint(checks, sent),
    )


def _checkpoint(checks: Checks, sent: api.ProgressReport) -> bytes | None:
    if not sent.HasField("checkpoint"):
        return None
    return checks.struct("progress.checkpoint", sent.checkpoint, limits.MAX_CHECKPOINT_BYTES)


def _progress(checks: Checks, sent: api.ProgressReport) -> ProgressReport:
    has = sent.HasField
    percent = stage = stage_percent = message = items = None
    if has("percent"):
        percent = sent.percent
        checks.within("progress.percent", percent, 0, 100)
    if has("stage"):
        stage = sent.stage
        checks.at_most("progress.stage", stage, 128, min_length=1)
    if has("stage_percent"):
        stage_percent = sent.stage_percent
        checks.within("progress.stage_percent", stage_percent, 0, 100)
    if has("message"):
        message = sent.message
        checks.at_most("progress.message", message, 1_024)
    if has("items_completed"):
        items = sent.items_completed
        if items < 0:
            checks.fault("progress.items_completed", f"value {items} must be at least 0")
    passed = _passed(checks, sent) if sent.passed_stages else ()
    return ProgressReport(
        percent, stage, stage_percent, message, items, passed, _duration(checks, "progress.stage_duration", sent)
    )


def _passed(checks: Checks, sent: api.ProgressReport) -> tuple[tuple[str, int], ...]:
    checks.count("progress.passed_stages", len(sent.passed_stages), limits.MAX_STAGES)
    if not sent.HasField("stage"):
        checks.fault("progress.stage", "is required with passed_stages")
    passed = []
    for index, passed_stage in enumerate(sent.passed_stages):
        path = f"progress.passed_stages[{index}]"
        checks.at_most(f"{path}.stage", passed_stage.stage, 128, min_length=1)
        passed.append((passed_stage.stage, _duration(checks, f"{path}.duration", passed_stage) or 0))
    return tuple(passed)


def _duration(checks: Checks, field: str, message: Message) -> int | None:
    return checks.span(message, field, 0, MAX_DELAY, None)


def artifacts_of(checks: Checks, field: str, sent: Mapping[str, chunk_pb2.Artifact], now: Micros) -> Artifacts:
    """Return checked artifacts."""
    if not sent:
        return NO_ARTIFACTS
    return {name: _artifact(checks, f'{field}["{name}"]', name, artifact, now) for name, artifact in sent.items()}


def _artifact(checks: Checks, field: str, name: str, sent: chunk_pb2.Artifact, now: Micros) -> Artifact:
    checks.at_most(field, name, 128, min_length=1)
    checks.uri(f"{field}.uri", sent.uri)
    checks.at_most(f"{field}.content_type", sent.content_type, 255)
    checks.within(f"{field}.size_bytes", sent.size_bytes, 0, limits.MAX_SIZE_BYTES)
    return Artifact(
        uri=sent.uri,
        content_type=sent.content_type,
        size_bytes=sent.size_bytes if sent.HasField("size_bytes") else None,
        metadata=checks.struct(f"{field}.metadata", sent.metadata, MAX_METADATA_BYTES)
        if sent.HasField("metadata")
        else None,
        create_time=now,
    )


def _results(checks: Checks, completion: api.ChunkCompletion) -> Results:
    if completion.result_uri:
        checks.uri("result_uri", completion.result_uri)
    return Results(
        completion.result_uri,
        output_of(checks, "", completion, "output"),
        output_of(checks, "", completion, "job_output"),
    )


def output_of(checks: Checks, path: str, message: Message, name: str = "output") -> bytes | None:
    """Return the output in a field of the message at a path, None when there is none."""
    if not message.HasField(name):
        return None
    return checks.struct(f"{path}.{name}" if path else name, getattr(message, name), limits.MAX_OUTPUT_BYTES)


class Reports(NamedTuple):
    """The reports of a call on some leases: their tokens, as they were sent, and the command of those in order.

    `refusals` are those that break a rule, by place; the command does not have them. `claim` and `info` are the claim
    that comes with the reports, and what its worker says about itself.
    """

    tokens: Sequence[str]
    command: commands.LeaseReports[Any]
    refusals: Mapping[int, InvalidField]
    claim: commands.ClaimChunks | None = None
    info: WorkerInfo | None = None

    def all_answers(self, answers: Iterable[commands.LeaseAnswer]) -> Iterator[tuple[str, commands.LeaseAnswer]]:
        """Yield each token with its outcome; `answers` are those of the command."""
        of_command = iter(answers)
        for index, token in enumerate(self.tokens):
            refusal = self.refusals.get(index)
            yield token, next(of_command) if refusal is None else commands.refused(refusal)


def heartbeat(request: api.HeartbeatRequest, caller: Caller, context: RequestContext) -> Reports:
    """Return the command of Heartbeat."""
    with Checks() as checks:
        leases = _leases(checks, "reports", request.reports, context.epoch)
        duration = _lease_duration(checks, request)
    now, served = context.clock(), served_by(caller)
    items, refusals = _items(context, leases, request.reports, now)
    command = commands.Heartbeat(caller.owner, items, lease_duration=duration, received=now, served=served)
    return Reports(tuple(leases), command, refusals)


def completions(request: api.CompleteChunksRequest, caller: Caller, context: RequestContext) -> Reports:
    """Return the command of CompleteChunks."""

    def results(checks: Checks, completion: api.ChunkCompletion) -> tuple[Results]:
        return (_results(checks, completion),)

    return _ends(commands.CompleteChunks, "completions", request, caller, context, results)


def failures(request: api.FailChunksRequest, caller: Caller, context: RequestContext) -> Reports:
    """Return the command of FailChunks."""

    def failure(checks: Checks, sent: api.ChunkFailure) -> tuple[Failure]:
        checks.at_most("error.code", sent.error.code, 128)
        checks.at_most("error.message", sent.error.message, 4_096)
        checks.at_most("error.stage", sent.error.stage, 128)
        error = WorkError(sent.error.code, sent.error.message, sent.error.stage)
        delay = _duration(checks, "retry_delay", sent)
        return (Failure(error, context.sample_jitter(), sent.not_retryable, delay),)

    return _ends(commands.FailChunks, "failures", request, caller, context, failure)


def releases(request: api.ReleaseChunksRequest, caller: Caller, context: RequestContext) -> Reports:
    """Return the command of ReleaseChunks."""

    def release(checks: Checks, sent: api.ChunkRelease) -> tuple[Release]:
        checks.at_most("reason", sent.reason, 1_024)
        return (Release(sent.reason, _duration(checks, "delay", sent) or 0),)

    return _ends(commands.ReleaseChunks, "releases", request, caller, context, release)


def _ends(
    command: Callable[..., commands.LeaseReports[Any]],
    name: str,
    request: Any,  # noqa: ANN401  any with reports of this name
    caller: Caller,
    context: RequestContext,
    read_rest: ReadRest,
) -> Reports:
    sent: Sequence[Any] = getattr(request, name)
    with Checks() as checks:
        leases = _leases(checks, name, sent, context.epoch)
    now = context.clock()
    items, refusals = _items(context, leases, sent, now, read_rest)
    reports = command(caller.owner, items, received=now, served=served_by(caller))
    if not request.HasField("claim"):
        return Reports(tuple(leases), reports, refusals)
    claim = _next_chunks(request.claim, caller)
    return Reports(tuple(leases), reports, refusals, claim, worker_info(request.claim, claim))


def _leases(checks: Checks, name: str, sent: Sequence[Any], epoch: Epoch) -> Mapping[str, Lease]:
    """Return the leases of reports by token; a call with a report that names none is refused as a whole."""
    checks.count(name, len(sent), MAX_LEASES, min_count=1)
    leases, places = dict[str, Lease](), dict[str, int]()
    for index, report in enumerate(sent):
        token, field = report.lease_token, f"{name}[{index}].lease_token"
        if token in places:
            checks.fault(field, f"must be unique; it repeats {name}[{places[token]}]")
        if isinstance(report, api.ChunkFailure) and not report.error.code:
            checks.fault(f"{name}[{index}].error.code", "is required")
        places[token] = index
        leases[token] = _lease_of(checks, field, token, epoch)
    return leases


def _items(
    context: RequestContext,
    leases: Mapping[str, Lease],
    sent: Sequence[Any],
    now: Micros,
    read_rest: ReadRest | None = None,
) -> tuple[list[Any], dict[int, InvalidField]]:
    """Return of each report its lease, its progress, and the rest; and the refusals of the others, by place."""
    checks, items, refusals = Checks(context.schemes), list[Any](), dict[int, InvalidField]()
    for index, report in enumerate(sent):
        lease = leases[report.lease_token]
        try:
            with checks:
                progress = _report(checks, report.progress, now)
                item = (lease, progress) if read_rest is None else (lease, progress, *read_rest(checks, report))
        except InvalidField as refusal:
            refusals[index] = refusal
        else:
            items.append(item)
    return items, refusals
