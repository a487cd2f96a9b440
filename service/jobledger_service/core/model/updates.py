"""What callers change of a job that exists: its names, labels, priority, times and settings."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .bounds.limits import DEFAULT_PRIORITY, MAX_LABELS
from .durations import duration_text, time_text
from .history.change import Change, ChangeType, Step
from .job import NO_LABELS, Job
from .lifecycle import future
from .micros import Micros
from .refusals.errors import InvalidField, JobEnded, JobStarted
from .retry import RetryPolicy
from .service_kinds import is_reserved
from .states import JobState

SETTINGS: Final = ("retry_policy", "run_timeout", "attempt_timeout")
"""The parts of a JobSpec that UpdateJob changes."""


class JobUpdate(MsgStruct, frozen=True):
    """The fields to change: those in `fields`, of a Job and of SETTINGS.

    `label_changes` are labels that get a value, or with None are removed; other labels stay.
    """

    fields: frozenset[str]
    priority: int = DEFAULT_PRIORITY
    display_name: str = ""
    labels: Mapping[str, str] = NO_LABELS
    expire_time: Micros | None = None
    schedule_time: Micros | None = None
    label_changes: Mapping[str, str | None] = {}
    retry_policy: RetryPolicy = RetryPolicy()
    run_timeout: int | None = None
    attempt_timeout: int | None = None

    @property
    def new_labels(self) -> dict[str, str]:
        """The labels that a job may get."""
        changes = self.labels if "labels" in self.fields else self.label_changes
        return {name: value for name, value in changes.items() if value is not None}

    def labels_of(self, job: Job) -> dict[str, str]:
        """Return the labels of a job with the changes; a job of the service's own keeps the service's.

        Raises InvalidField for too many.
        """
        merged: dict[str, str | None] = {**job.labels, **self.label_changes}
        if "labels" in self.fields:
            kept = filter(is_reserved, job.labels if is_reserved(job.spec.kind) else ())
            merged = {**{name: job.labels[name] for name in kept}, **self.labels}
        labels = {name: value for name, value in merged.items() if value is not None}
        if len(labels) > MAX_LABELS:
            raise InvalidField(
                ("labels", f"must have at most {MAX_LABELS} entries; got {len(labels)} with those it has")
            )
        return labels

    @property
    def paths(self) -> list[str]:
        """The names of all that it changes."""
        return sorted([*self.fields, *(f"labels.{name}" for name in self.label_changes)])


def update(
    job: Job, new: JobUpdate, actor: str, now: Micros, reason: str = "", calendar: Micros | None = None
) -> Step | None:
    """Return the job with its new fields; None when nothing differs. The change lists the fields, then the reason.

    Its schedule_time has come by the `calendar`, without one by `now`.
    """
    values = {name: getattr(new, name) for name in new.fields.difference(SETTINGS)}
    settings = {name: getattr(new, name) for name in new.fields.intersection(SETTINGS)}
    if new.label_changes or "labels" in new.fields:
        values["labels"] = new.labels_of(job)
    new_settings = {name: value for name, value in settings.items() if getattr(job.spec, name) != value}
    if not new_settings and all(getattr(job, name) == value for name, value in values.items()):
        return None
    if "priority" in new.fields and job.ended:
        raise JobEnded(job.spec.job_id, job.state, "its priority no longer matters")
    reason_text = "; ".join(filter(None, (", ".join(new.paths), reason)))
    change = Change(ChangeType.UPDATED, actor, job.state, job.state, reason=reason_text)
    by_rule = job.expires_by_rule and "expire_time" not in new.fields
    job = replace(job, **values, expires_by_rule=by_rule)
    if "schedule_time" in new.fields:
        job = _scheduled(job, now if calendar is None else calendar)
    if new.fields & {"schedule_time", "expire_time"}:
        _check_expiry(job)
    max_attempts = job.spec.retry_policy.max_attempts
    if new_settings:
        job = _with_settings(job, new_settings, now)
    return Step(job, (), change, more_attempts=job.spec.retry_policy.max_attempts - max_attempts)


def _with_settings(job: Job, settings: Mapping[str, Any], now: Micros) -> Job:
    """Return the job with new SETTINGS, which differ; a present run then ends at its new run_timeout."""
    if is_reserved(job.spec.kind):
        raise InvalidField(*((name, f"must not change in a job of kind {job.spec.kind}") for name in sorted(settings)))
    if job.state is JobState.COMPLETED:
        raise JobEnded(job.spec.job_id, job.state, f"its {', '.join(sorted(settings))} no longer matter")
    before, job = job, replace(job, spec=replace(job.spec, **settings))
    if "run_timeout" not in settings or job.state is not JobState.RUNNING or job.start_time is None:
        return job
    timeout = job.spec.run_timeout
    if before.has_timed_out(now):
        present = duration_text(before.spec.run_timeout or 0)
        raise InvalidField(("run_timeout", f"must not change after the run reached its present one, {present}"))
    if timeout is not None and job.start_time + timeout <= now:
        spent = duration_text(now - job.start_time)
        rule = f"value {duration_text(timeout)} must be more than the run has taken, {spent}"
        raise InvalidField(("run_timeout", rule))
    return replace(job, deadline=None if timeout is None else job.start_time + timeout)


def _scheduled(job: Job, now: Micros) -> Job:
    """Return the job held until its new schedule_time; without one that is to come, it may begin."""
    if job.state is not JobState.QUEUED or job.retry_count:
        raise JobStarted(job.spec.job_id, job.state)
    return replace(job, held_until=future(job.schedule_time, now))


def _check_expiry(job: Job) -> None:
    """Raise InvalidField for a job that expires before it may begin."""
    if job.held_until is not None and job.expire_time is not None and job.expire_time < job.held_until:
        times = time_text(job.expire_time), time_text(job.held_until)
        raise InvalidField(("expire_time", "value {} must not be before schedule_time, {}".format(*times)))
