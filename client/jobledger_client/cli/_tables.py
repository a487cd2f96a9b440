"""Tables of jobs, chunks, events, webhooks and the like."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.admin_service_pb2 import Quota, Usage
from jobledger.v1.chunk_pb2 import Artifact, Attempt, Chunk
from jobledger.v1.event_pb2 import Change, JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger.v1.webhook_pb2 import Webhook, WebhookDelivery
from jobledger.v1.worker_service_pb2 import Worker
from rich.table import Table
from rich.text import Text

from jobledger_client._generated._enums import (
    AttemptOutcome,
    ChangeType,
    ChunkState,
    HoldReason,
    JobState,
    WebhookDeliveryState,
    WebhookState,
)
from jobledger_client._limits import Limit, PausedKind, limit_message, paused_kind_message
from jobledger_client._structs import plain
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json
from jobledger_client.cli._queue_wait import held_by, is_waiting, seconds_waited, unclaimed

if TYPE_CHECKING:
    from jobledger_client.outbox import OutboxRow

_WIDE = 110  # columns
_VERDICTS = ("applied", "unchanged", "refused")


def jobs(jobs: Iterable[Job], *, width: int) -> Table:
    """Return jobs, one a row; a wide terminal gets more columns."""
    wide = width >= _WIDE
    more = ("CHUNKS", "PRIORITY", "AGE") if wide else ()
    table = _table("JOB", "STATE", "DONE", *more, "KIND", "NAME", folding=("KIND", "NAME"))
    for job in jobs:
        texts = formatting.one_line(job.kind), formatting.one_line(job.display_name)
        summary = job.chunks_summary
        state = formatting.coloured(JobState(job.state))
        chunks_done = f"{summary.completed:,}/{summary.total:,}"
        more = (chunks_done, str(job.priority), formatting.age(job.create_time)) if wide else ()
        _row(table, job.job_id, state, formatting.percent(job.progress.percent), *more, *texts)
    return table


def limits(limits: Iterable[Limit]) -> Table:
    """Return concurrency limits, one a row."""
    columns = ("SCOPE", "AT MOST", "CEILING", "RUNNING", "WAITING", "FOLLOWS", "SINCE", "BY", "REASON")
    table = _table(*columns, folding=("SCOPE", "BY", "REASON"))
    for limit in limits:
        number = "paused" if limit.max_running == 0 else f"{limit.max_running:,}"
        follows = f"each {limit.scope.label}" if limit.inherited else ""
        since = formatting.local_time(limit_message(limit).update_time) if limit.update_time else ""
        by, reason = formatting.one_line(limit.set_by), formatting.one_line(limit.reason)
        ceiling = "" if limit.ceiling is None else f"{limit.ceiling:,}"
        running, waiting = f"{limit.running:,}", f"{limit.waiting:,}"
        _row(table, str(limit.scope), number, ceiling, running, waiting, follows, since, by, reason)
    return table


def paused_kinds(kinds: Iterable[PausedKind]) -> Table:
    """Return paused kinds, one a row."""
    table = _table("KIND", "SINCE", "BY", "REASON", folding=("KIND", "BY", "REASON"))
    for paused in kinds:
        by, reason = formatting.one_line(paused.paused_by), formatting.one_line(paused.reason)
        since = formatting.local_time(paused_kind_message(paused).pause_time)
        _row(table, paused.kind, since, by, reason)
    return table


def outbox_rows(rows: "Iterable[OutboxRow]") -> Table:
    """Return rows of an outbox, one a row."""
    columns = ("POSITION", "JOB", "KIND", "SINCE", "ATTEMPTS", "REASON", "MESSAGE")
    table = _table(*columns, folding=("KIND", "REASON", "MESSAGE"))
    for row in rows:
        since = Timestamp()
        since.FromMilliseconds(row.create_time)
        texts = formatting.one_line(row.reason), formatting.one_line(row.message)
        job = formatting.one_line(row.request.job_id), formatting.one_line(row.request.kind)
        _row(table, str(row.position), *job, formatting.local_time(since), f"{row.attempts:,}", *texts)
    return table


def workers(workers: Iterable[Worker], *, width: int) -> Table:
    """Return workers, one a row; a wide terminal gets more columns."""
    wide = width >= _WIDE
    more = ("VERSION", "HOST", "UP") if wide else ()
    table = _table("WORKER", "CHUNKS", "HEARD", *more, "KINDS", folding=("WORKER", "VERSION", "HOST", "KINDS"))
    for worker in workers:
        up = formatting.age(worker.first_seen_time)
        said = (formatting.one_line(worker.version), formatting.one_line(worker.host), up) if wide else ()
        heard = f"{formatting.age(worker.last_seen_time)} ago"
        kinds = formatting.one_line(", ".join(worker.kinds))
        _row(table, formatting.one_line(worker.worker), f"{worker.chunk_count:,}", heard, *said, kinds)
    return table


def refusals(refusals: Iterable[Mapping[str, Any]]) -> Table:
    """Return the jobs that refused a verb, one a row, with the reason."""
    table = _table("JOB", "REASON", "MESSAGE", folding=("MESSAGE",))
    for refusal in refusals:
        error = refusal["error"]
        _row(table, refusal["job_id"], error["reason"].removeprefix("ERROR_REASON_"), error["message"])
    return table


def report_counts(report: Mapping[str, object]) -> str:
    """Return a report's counts in one line: the verdicts first."""
    order = sorted(report, key=lambda name: (_VERDICTS.index(name) if name in _VERDICTS else len(_VERDICTS), name))
    counts = [(name.replace("_", " "), report[name]) for name in order]
    return ", ".join(f"{count:,} {name}" for name, count in counts if isinstance(count, int))


def statuses(jobs: Collection[Job], *, width: int) -> Table:
    """Return the state of jobs, one a row, with errors and results, if there are any.

    A narrow terminal gets neither the kind nor the ETA's time of day.
    """
    wide = width >= _WIDE
    more = ("KIND",) if wide else ()
    error = ("ERROR",) if any(job.error.code for job in jobs) else ()
    result = ("RESULT",) if any(job.result_uri for job in jobs) else ()
    columns = ("JOB", "STATE", "DONE", "ETA", "STAGE", *error, *more, "NAME", *result)
    table = _table(*columns, folding=("STAGE", "ERROR", "KIND", "NAME", "RESULT"))
    for job in jobs:
        progress = job.progress
        _row(
            table,
            job.job_id,
            formatting.coloured(JobState(job.state)),
            formatting.percent(progress.percent),
            formatting.eta(progress.eta, clock=wide) if progress.HasField("eta") else "",
            formatting.one_line(progress.stage),
            *((formatting.one_line(job.error.code),) if error else ()),
            *((formatting.one_line(job.kind),) if wide else ()),
            formatting.one_line(job.display_name),
            *((formatting.one_line(job.result_uri),) if result else ()),
        )
    return table


def chunks(chunks: Collection[Chunk]) -> Table:
    """Return chunks, one a row, with artifacts and the ids of an external engine, if there are any."""
    task = ("TASK",) if any(chunk.task_id for chunk in chunks) else ()
    held = ("HELD",) if any(chunk.holds for chunk in chunks) else ()
    artifacts = ("ARTIFACTS",) if any(chunk.artifacts for chunk in chunks) else ()
    columns = ("CHUNK", "STATE", *held, "ITEMS", "DONE", "ATTEMPT", "WORKER", *task, "STAGE", "ERROR", *artifacts)
    table = _table(*columns, folding=("WORKER", "TASK", "ERROR", "ARTIFACTS"))
    for chunk in chunks:
        _row(
            table,
            str(chunk.index),
            formatting.coloured(ChunkState(chunk.state)),
            *((_holds(chunk),) if held else ()),
            f"{chunk.first_item}–{chunk.last_item}" if chunk.HasField("first_item") else "",  # noqa: RUF001 - a range
            formatting.percent(chunk.progress.percent),
            f"{chunk.attempt}/{chunk.max_attempts}",
            chunk.worker,
            *((chunk.task_id,) if task else ()),
            chunk.progress.stage,
            f"{chunk.error.code}: {chunk.error.message}" if chunk.HasField("error") else "",
            *((_artifacts(chunk),) if artifacts else ()),
        )
    return table


def attempts(attempts: Collection[Attempt]) -> Table:
    """Return attempts, one a row, with the ids of an external engine, if there are any."""
    task = ("TASK",) if any(attempt.task_id for attempt in attempts) else ()
    columns = ("CHUNK", "ATTEMPT", "OUTCOME", "WORKER", *task, "STARTED", "ENDED", "ERROR")
    table = _table(*columns, folding=("WORKER", "TASK", "ERROR"))
    for attempt in attempts:
        _row(
            table,
            str(attempt.chunk_index),
            str(attempt.number),
            AttemptOutcome(attempt.outcome).name if attempt.outcome else "",
            attempt.worker,
            *((attempt.task_id,) if task else ()),
            formatting.local_time(attempt.start_time),
            formatting.local_time(attempt.end_time) if attempt.HasField("end_time") else "",
            f"{attempt.error.code}: {attempt.error.message}" if attempt.HasField("error") else "",
        )
    return table


def _holds(chunk: Chunk) -> str:
    """Return why a chunk may not be claimed yet, and until when its next attempt waits."""
    until = f" until {formatting.local_time(chunk.next_attempt_time)}" if chunk.HasField("next_attempt_time") else ""
    return ", ".join(HoldReason(reason).name for reason in chunk.holds) + until


def _artifacts(chunk: Chunk) -> Text:
    """Return a chunk's artifacts, a line each."""
    lines = [_artifact(name, artifact) for name, artifact in sorted(chunk.artifacts.items())]
    return Text("\n").join(formatting.literal(line) for line in lines)


def events(events: Iterable[JobEvent], *, of_many: bool = False) -> Table:
    """Return a history, one change a row, perhaps of many jobs."""
    columns = ("TIME", "REVISION", "CHANGE", "CHUNK", "ATTEMPT", "ACTOR", "STATE", "REASON")
    table = _table(*(("JOB",) if of_many else ()), *columns, folding=("ACTOR", "REASON"))
    for event in events:
        for change in event.changes:
            _row(
                table,
                *((event.job_id,) if of_many else ()),
                formatting.local_time(event.commit_time),
                str(event.revision),
                ChangeType(change.type).name,
                _changed_chunks(change),
                str(change.attempt) if change.HasField("attempt") else "",
                change.actor,
                _state_change(change),
                change.reason,
            )
    return table


def _changed_chunks(change: Change) -> str:
    """Return the chunk of a change; of a retry those that were named, or how many there were."""
    if change.HasField("chunk_index"):
        return str(change.chunk_index)
    runs = (
        str(run.first_index) if run.first_index == run.last_index else f"{run.first_index}-{run.last_index}"
        for run in change.chunk_ranges
    )
    return ",".join(runs) or (f"{change.chunk_count} chunks" if change.chunk_count else "")


def _state_change(change: Change) -> Text:
    """Return the states before and after a change, or the one state that did not change."""
    states = [change.from_state, change.to_state] if change.from_state != change.to_state else [change.to_state]
    return Text(" → ").join(formatting.coloured(JobState(state)) for state in states if state)


def usage(rows: Iterable[Usage]) -> Table:
    """Return sums of usage, one a row."""
    columns = ("DAY", "OWNER", "KEY", "METHOD", "CALLS", "ERRORS", "RECEIVED", "SENT", "MEAN")
    table = _table(*columns, folding=("OWNER", "METHOD"))
    for sums in rows:
        mean = sums.duration.ToTimedelta() / sums.calls / timedelta(milliseconds=1) if sums.calls else 0.0
        _row(
            table,
            f"{sums.start_time.ToDatetime():%Y-%m-%d}" if sums.HasField("start_time") else "",
            sums.owner,
            sums.key_id,
            sums.method.removeprefix("jobledger.v1."),
            f"{sums.calls:,}",
            f"{sums.errors:,}",
            formatting.size(sums.bytes_received),
            formatting.size(sums.bytes_sent),
            f"{mean:,.1f} ms",
        )
    return table


def quotas(quotas: Iterable[Quota]) -> Table:
    """Return quotas, one a row, with the use of each bound; a * marks the server's default."""
    table = _table(
        "OWNER", "UNFINISHED JOBS", "STORED JOBS", "WATCHES", "ARTIFACTS", "REASON", folding=("OWNER", "REASON")
    )
    for quota in quotas:
        bounds = [
            _use_of(quota, used, bound, shown)
            for used, bound, shown in (
                (quota.unfinished_job_count, "max_unfinished_jobs", "{:,}".format),
                (quota.stored_job_count, "max_stored_jobs", "{:,}".format),
                (quota.watch_count, "max_watches", "{:,}".format),
                (quota.artifact_bytes, "max_artifact_bytes", formatting.size),
            )
        ]
        _row(table, quota.owner, *bounds, quota.reason)
    return table


def _use_of(quota: Quota, used: int, bound: str, shown: Callable[[int], str]) -> str:
    if not quota.HasField(bound):  # type: ignore[arg-type] # of its own fields
        return shown(used)
    return f"{shown(used)} of {shown(getattr(quota, bound))}{'*' if bound in quota.default_fields else ''}"


def webhooks(webhooks: Iterable[Webhook]) -> Table:
    """Return webhooks, one a row."""
    table = _table("WEBHOOK", "STATE", "URL", "EVENTS", "REASON", folding=("URL", "EVENTS", "REASON"))
    for webhook in webhooks:
        event_types = ", ".join(map(formatting.event_type, webhook.event_types))
        state = formatting.coloured(WebhookState(webhook.state))
        _row(table, webhook.webhook_id, state, webhook.url, event_types, webhook.state_reason)
    return table


def deliveries(deliveries: Iterable[WebhookDelivery]) -> Table:
    """Return deliveries, one a row, with the last attempt of each."""
    columns = ("DELIVERY", "EVENT", "JOB", "STATE", "ATTEMPTS", "LAST", "NEXT")
    table = _table(*columns, folding=("DELIVERY", "JOB", "LAST"))
    for delivery in deliveries:
        _row(
            table,
            delivery.delivery_id,
            formatting.event_type(delivery.event_type),
            delivery.job_id,
            formatting.coloured(WebhookDeliveryState(delivery.state)),
            str(delivery.attempt_count),
            formatting.attempt(delivery.attempts[-1]) if delivery.attempts else "",
            formatting.local_time(delivery.next_attempt_time) if delivery.HasField("next_attempt_time") else "",
        )
    return table


def job(job: Job) -> Table:
    """Return the fields of one job, a row each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _job_fields(job):
        if value:
            _row(table, name, value)
    return table


def outcome(job: Job) -> Text:
    """Return the outcome of an ended job, a line each: its result, error and reason of cancellation."""
    lines = [f"result: {job.result_uri}"] if job.result_uri else []
    if job.HasField("output"):
        lines.append(f"output: {_json.dumps(plain(job.output))}")
    if job.HasField("error"):
        chunk = f" (chunk {job.error.chunk_index})" if job.error.HasField("chunk_index") else ""
        lines.append(f"error: {job.error.code}: {job.error.message}{chunk}")
    if job.cancel_reason:
        lines.append(f"cancelled: {job.cancel_reason}")
    return Text("\n").join(formatting.literal(line) for line in lines)


def _job_fields(job: Job) -> Iterable[tuple[str, str | Text]]:
    progress = job.progress
    yield "job", job.job_id
    yield "uid", job.uid
    yield "name", job.display_name
    yield "kind", job.kind
    yield "owner", job.owner
    yield "state", formatting.coloured(JobState(job.state))
    yield "waits for", held_by(job) or (f"a worker: {unclaimed(job, seconds_waited(job))}" if is_waiting(job) else "")
    yield "progress", ", ".join(filter(None, [formatting.percent(progress.percent), formatting.items(job)]))
    yield "eta", formatting.eta(progress.eta) if progress.HasField("eta") else ""
    yield "stage", f"{progress.stage} {_stage_percent(job)}".strip()
    yield "message", progress.message
    yield "chunks", formatting.counts(job)
    yield "priority", str(job.priority)
    yield "labels", ", ".join(f"{name}={value}" for name, value in sorted(job.labels.items()))
    yield "unique key", job.unique_key
    yield "limited by", ", ".join(job.limited_labels)
    yield "input", _json.dumps(plain(job.input)) if job.HasField("input") else ""
    yield from (("artifact", _artifact(name, artifact)) for name, artifact in sorted(job.artifacts.items()))
    yield "result", job.result_uri
    yield "output", _json.dumps(plain(job.output)) if job.HasField("output") else ""
    yield "error", f"{job.error.code}: {job.error.message}" if job.HasField("error") else ""
    yield "cancelled", job.cancel_reason
    yield "created", formatting.local_time(job.create_time)
    yield "scheduled", formatting.local_time(job.schedule_time) if job.HasField("schedule_time") else ""
    yield "started", formatting.local_time(job.start_time) if job.HasField("start_time") else ""
    yield "ended", formatting.local_time(job.end_time) if job.HasField("end_time") else ""
    yield "expires", formatting.local_time(job.expire_time) if job.HasField("expire_time") else ""
    yield "run timeout", _timeout(job.run_timeout) if job.HasField("run_timeout") else ""
    yield "attempt timeout", _timeout(job.attempt_timeout) if job.HasField("attempt_timeout") else ""
    yield "retries", str(job.retry_count or "")
    yield "etag", job.etag


def _timeout(limit: Duration) -> str:
    return formatting.duration(limit.ToTimedelta().total_seconds())


def _stage_percent(job: Job) -> str:
    return formatting.percent(job.progress.stage_percent) if job.progress.HasField("stage_percent") else ""


def _artifact(name: str, artifact: Artifact) -> str:
    size = f", {artifact.size_bytes:,} bytes" if artifact.HasField("size_bytes") else ""
    kind = f" ({artifact.content_type}{size})" if artifact.content_type else ""
    return f"{name}: {artifact.uri}{kind}"


def _table(*columns: str, folding: Collection[str]) -> Table:
    """Return an empty table; only the `folding` columns shrink on a narrow terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column not in folding, overflow="fold")
    return table


def _row(table: Table, *cells: str | Text) -> None:
    table.add_row(*(formatting.literal(cell) if isinstance(cell, str) else cell for cell in cells))
