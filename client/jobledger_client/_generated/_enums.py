# Generated from the protos by client/generate_contract.py: edit these, then run `make gen`.
"""The enums of the contract. Their members are equal to the numbers in messages: `job.state == JobState.RUNNING`."""

from jobledger_client._contract_enum import ContractEnum


class AttemptOutcome(ContractEnum):
    """How an attempt ended."""

    COMPLETED = 1
    """COMPLETED is a chunk that was done."""
    FAILED = 2
    """FAILED is a failure that the worker reported, whatever its code."""
    EXPIRED = 3
    """EXPIRED is a lease that its worker did not extend in time."""
    RELEASED = 4
    """RELEASED is a chunk that its worker released."""
    TIMED_OUT = 5
    """TIMED_OUT is an attempt that took longer than the job's attempt_timeout."""
    CANCELLED = 6
    """CANCELLED is a lease that was revoked because the job was cancelled, failed under FAIL_FAST, or took longer than its run_timeout."""


class CancelOutcome(ContractEnum):
    """What CancelJob did."""

    CANCELLED = 1
    """CANCELLED stopped the job: none of its chunks was running, or `force` was set."""
    REQUESTED = 2
    """REQUESTED asked the workers to stop: the job is CANCELLING.

    It ends CANCELLED, or COMPLETED when none of its chunks was stopped.
    """
    ALREADY_ENDED = 3
    """ALREADY_ENDED changed nothing: the job had already ended."""


class ChangeType(ContractEnum):
    """What kind of thing happened to a job."""

    CREATED = 1
    """CREATED is the job's first entry, unless it was imported."""
    CLAIMED = 2
    """CLAIMED is a chunk that a worker claimed."""
    PROGRESSED = 3
    """PROGRESSED is progress, a stage, a message or an artifact from a worker."""
    CHUNK_COMPLETED = 4
    """CHUNK_COMPLETED is a chunk that was done."""
    CHUNK_FAILED = 5
    """CHUNK_FAILED is a failed attempt at a chunk, reported by its worker."""
    CHUNK_RELEASED = 6
    """CHUNK_RELEASED is a chunk that its worker released."""
    LEASE_EXPIRED = 7
    """LEASE_EXPIRED is a failed attempt at a chunk whose lease expired."""
    CANCEL_REQUESTED = 8
    """CANCEL_REQUESTED is CancelJob, or the end of its grace period."""
    RETRIED = 9
    """RETRIED is RetryJob: another run, or, when the state is the same before and after, chunks that are retried within the run."""
    UPDATED = 10
    """UPDATED is UpdateJob."""
    DELETED = 11
    """DELETED is the job's last entry."""
    SLOT_GRANTED = 12
    """SLOT_GRANTED is a job that waited for a slot under a concurrency limit and got one."""
    IMPORTED = 13
    """IMPORTED is the first entry of a job that came from another system, perhaps after its end."""
    ATTEMPT_TIMED_OUT = 14
    """ATTEMPT_TIMED_OUT is a failed attempt at a chunk that took longer than the job's attempt_timeout."""
    RUN_TIMED_OUT = 15
    """RUN_TIMED_OUT is a job that failed because its run took longer than its run_timeout."""
    SCHEDULE_REACHED = 16
    """SCHEDULE_REACHED is a job whose schedule_time has come."""


class ChunkState(ContractEnum):
    """The state of one chunk."""

    PENDING = 1
    """PENDING is waiting for a worker, or until its holds are lifted."""
    PROCESSING = 2
    """PROCESSING is held by a worker under a lease."""
    COMPLETED = 3
    """COMPLETED is done.

    Final: a retry of the job keeps it.
    """
    FAILED = 4
    """FAILED has used its attempts, or failed in a way that is not retryable."""
    CANCELLED = 5
    """CANCELLED was stopped with its job, before or during its work."""


class ComponentKind(ContractEnum):
    """What a component is."""

    RATE_LIMIT_STORE = 1
    """RATE_LIMIT_STORE is the Redis where servers count calls together."""
    ARTIFACT_STORE = 2
    """ARTIFACT_STORE is a bucket or a directory below which the server may delete artifacts."""


class ComponentState(ContractEnum):
    """How a component was when it was last checked."""

    UNKNOWN = 1
    """UNKNOWN has not been checked since the server started."""
    WORKING = 2
    """WORKING answered as it should."""
    FAILING = 3
    """FAILING did not: see the problem."""


class EventOrder(ContractEnum):
    """The order of a list of events."""

    POSITION_DESC = 1
    """POSITION_DESC lists the newest event first."""
    POSITION_ASC = 2
    """POSITION_ASC lists the oldest event first."""


class ExportFormat(ContractEnum):
    """How exported jobs are written."""

    CSV = 1
    """CSV is RFC 4180 with a header line, in UTF-8.

    Text that a spreadsheet would treat as a formula is preceded by an apostrophe; a cell without a value is empty.
    """
    JSON_LINES = 2
    """JSON_LINES is one JSON object per line, in UTF-8."""


class FailurePolicy(ContractEnum):
    """Decides what a chunk that failed for good means for the other chunks."""

    RUN_ALL = 1
    """RUN_ALL lets the other chunks finish; the job is FAILED after the last."""
    FAIL_FAST = 2
    """FAIL_FAST fails the job at once and cancels its other unfinished chunks."""


class HoldReason(ContractEnum):
    """Why a waiting chunk may not be claimed yet.

    A chunk without a hold that is PENDING is claimable.
    """

    LIMIT = 1
    """LIMIT holds all chunks of a job until it gets a slot under a concurrency limit."""
    SCHEDULE = 2
    """SCHEDULE holds all chunks of a job until its `schedule_time`."""
    BACKOFF = 3
    """BACKOFF holds one chunk until its `next_attempt_time`, after a failed attempt or a release with a delay."""
    FINALIZER = 4
    """FINALIZER holds the finalizer of a job until all other chunks are COMPLETED."""
    PAUSED = 5
    """PAUSED holds all chunks of all jobs of a kind until ResumeKind.

    It is read with the job or chunk, and so it is in the SNAPSHOT messages of watches, but not in events, nor in
    the jobs that writes return: a pause changes no job.
    """


class JobOrder(ContractEnum):
    """The order of a list of jobs.

    Ties are broken by creation, then by job_id, in the same direction.
    """

    CREATE_TIME_DESC = 1
    """CREATE_TIME_DESC lists the newest job first, by create_time."""
    CREATE_TIME_ASC = 2
    """CREATE_TIME_ASC lists the oldest job first, by create_time."""
    UPDATE_TIME_DESC = 3
    """UPDATE_TIME_DESC lists the job that changed last first, by update_time."""
    UPDATE_TIME_ASC = 4
    """UPDATE_TIME_ASC lists the job that has not changed for longest first, by update_time."""
    END_TIME_DESC = 5
    """END_TIME_DESC lists the jobs that have not ended first, then the one that ended last, by end_time."""
    END_TIME_ASC = 6
    """END_TIME_ASC lists the job that ended first first, by end_time, and jobs that have not ended last."""
    PRIORITY_DESC = 7
    """PRIORITY_DESC lists the most urgent job first, by priority."""
    PRIORITY_ASC = 8
    """PRIORITY_ASC lists the least urgent job first, by priority."""


class JobState(ContractEnum):
    """The state of a job.

    A phase of the work is a stage, not a state.
    """

    QUEUED = 1
    """QUEUED is waiting for the first of its chunks to be claimed."""
    RUNNING = 2
    """RUNNING has had a chunk claimed in this run."""
    CANCELLING = 3
    """CANCELLING was asked to stop and is waiting for its workers to release their chunks."""
    COMPLETED = 4
    """COMPLETED has every chunk completed.

    Final.
    """
    FAILED = 5
    """FAILED has a chunk that failed for good, or took longer than its run_timeout.

    Left only by RetryJob.
    """
    CANCELLED = 6
    """CANCELLED was stopped.

    Left only by RetryJob.
    """


class JobView(ContractEnum):
    """How much of a job a response shows."""

    BASIC = 1
    """BASIC leaves out `input` and `chunks`."""
    FULL = 2
    """FULL shows `input` and the first 1,000 chunks, or fewer when the response would exceed 3 MiB; next_chunks_page_token leads to the rest."""
    STATUS = 3
    """STATUS shows only owner, job_id, uid, kind, display_name, state, revision, update_time, result_uri, chunks_summary, holds, the code of error, and the percent, stage, stage_percent and eta of progress.

    It serves screens and pollers that read hundreds of jobs repeatedly and need no second call when a job has
    ended.
    """
    DETAIL = 4
    """DETAIL is BASIC with `input`, without `chunks`.

    In GetJob, BatchGetJobs and ListJobs.
    """


class LabelOperator(ContractEnum):
    """How a condition compares a label."""

    EQ = 1
    """EQ is a label with the one value that is given, as in JobFilter.labels."""
    IN = 2
    """IN is a label with one of the values."""
    EXISTS = 3
    """EXISTS is a label with any value.

    No values are given.
    """


class LeaseStatus(ContractEnum):
    """The outcome for one lease of a call."""

    OK = 1
    """OK took effect, or had taken effect before."""
    CANCEL_REQUESTED = 2
    """CANCEL_REQUESTED took effect, and the job must stop: release the chunk with ReleaseChunks."""
    LEASE_LOST = 3
    """LEASE_LOST changed nothing: the lease expired, was revoked, or does not exist, for example because the database was restored.

    Stop the work.
    """
    REFUSED = 4
    """REFUSED changed nothing: the report breaks a rule, and `error` says which.

    The lease is as before the call, and is neither extended nor ended. The same report is refused again: correct
    it, or report without it.
    """


class OnConflict(ContractEnum):
    """Decides what CreateJob does when another job already has the unique_key."""

    RETURN = 1
    """RETURN returns the job that has the key, whatever its content is.

    Nothing is created.
    """
    REFUSE = 2
    """REFUSE refuses the call with UNIQUE_KEY_TAKEN."""


class Role(ContractEnum):
    """What a key is for."""

    CALLER = 1
    """CALLER may call JobService, WebhookService and google.longrunning.Operations, over the jobs of its owner."""
    WORKER = 2
    """WORKER may call WorkerService, over the jobs of its owner, or of the owners that the key serves."""
    ADMIN = 3
    """ADMIN may call every service, and name any owner: it is for operators."""
    OWNER_ADMIN = 4
    """OWNER_ADMIN may do all that CALLER and WORKER may, set the limits of its owner up to the ceilings that ADMIN set, pause its kinds, import its jobs, manage its keys, and read its usage.

    It has no right over another owner.
    """


class StatsStep(ContractEnum):
    """The length of one point of a series."""

    HOUR = 1
    """HOUR is a point for each hour."""
    DAY = 2
    """DAY is a point for each day of UTC."""


class StopCause(ContractEnum):
    """Why a lease must stop, or is lost.

    A pause of a kind stops no lease.
    """

    JOB_CANCELLED = 1
    """JOB_CANCELLED is a job that was cancelled; `reason` is the caller's."""
    JOB_FAILED = 2
    """JOB_FAILED is a job that failed at once by its failure policy."""
    RUN_TIMED_OUT = 3
    """RUN_TIMED_OUT is a run that took longer than the job's run_timeout."""
    ATTEMPT_TIMED_OUT = 4
    """ATTEMPT_TIMED_OUT is an attempt that took longer than the job's attempt_timeout."""
    LEASE_EXPIRED = 5
    """LEASE_EXPIRED is a lease that was not extended in time."""
    ATTEMPT_ENDED = 6
    """ATTEMPT_ENDED is an attempt that a report under the same lease ended in another way."""
    SUPERSEDED = 7
    """SUPERSEDED is a chunk with a newer lease, or of a job that was retried since."""
    NOT_FOUND = 8
    """NOT_FOUND is a lease that does not exist for the caller: its job was deleted, the database was restored, or the key does not serve its owner."""


class SystemStatus(ContractEnum):
    """The overall health of a server."""

    HEALTHY = 1
    """HEALTHY is within all thresholds."""
    DEGRADED = 2
    """DEGRADED works, but is past a threshold: investigate before it fails."""
    UNHEALTHY = 3
    """UNHEALTHY does not work: reads or writes are refused, or soon will be."""


class UsageDimension(ContractEnum):
    """What usage is summed by."""

    DAY = 1
    """DAY sums by day."""
    OWNER = 2
    """OWNER sums by owner."""
    KEY = 3
    """KEY sums by key."""
    METHOD = 4
    """METHOD sums by method."""


class WatchMessageType(ContractEnum):
    """The type of a message of a watch."""

    SNAPSHOT = 1
    """SNAPSHOT is the state of a job at the start of a watch without a cursor.

    In WatchJobs a SNAPSHOT with unreadable_job_ids has no job.
    """
    CHANGED = 2
    """CHANGED is a change of a job."""
    LEFT = 3
    """LEFT is a change after which the job no longer matches the filter."""
    DELETED = 4
    """DELETED is the deletion of a job."""
    BOOKMARK = 5
    """BOOKMARK is a cursor alone: this watch has received everything up to it."""


class WatchMode(ContractEnum):
    """Decides what a watcher that falls behind receives."""

    LATEST = 1
    """LATEST may merge revisions of a job when the watcher is slower than the changes.

    The last revision always arrives.
    """
    EVERY = 2
    """EVERY never merges."""


class WebhookDeliveryState(ContractEnum):
    """The state of a delivery."""

    PENDING = 1
    """PENDING waits: for its next attempt, for an earlier delivery of its job, or for the webhook."""
    DELIVERED = 2
    """DELIVERED was answered with 2xx."""
    DEAD = 3
    """DEAD is not tried again, unless by RedeliverWebhook."""


class WebhookEventType(ContractEnum):
    """What happened to a job.

    In the body of a delivery it reads "job.created", "job.started" and so on.
    """

    JOB_CREATED = 1
    """JOB_CREATED ("job.created") is the job's first event."""
    JOB_STARTED = 2
    """JOB_STARTED ("job.started") is the first claim of a chunk in a run."""
    JOB_PROGRESS = 3
    """JOB_PROGRESS ("job.progress") is a percent of `progress_percents` that was reached."""
    JOB_COMPLETED = 4
    """JOB_COMPLETED ("job.completed") is a job that is COMPLETED."""
    JOB_FAILED = 5
    """JOB_FAILED ("job.failed") is a job that is FAILED."""
    JOB_CANCELLED = 6
    """JOB_CANCELLED ("job.cancelled") is a job that is CANCELLED."""
    JOB_RETRIED = 7
    """JOB_RETRIED ("job.retried") is another run, begun by RetryJob."""
    JOB_DELETED = 8
    """JOB_DELETED ("job.deleted") is the job's last event."""


class WebhookState(ContractEnum):
    """Whether a webhook receives deliveries."""

    ACTIVE = 1
    """ACTIVE records events and delivers them."""
    DISABLED = 2
    """DISABLED records no events and delivers nothing, because its owner disabled it, or its receiver answered 410."""
    PAUSED = 3
    """PAUSED records events but delivers none of them, because every delivery failed for too long."""
