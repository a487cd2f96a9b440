"""The progress of an attempt, from its worker's reports."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .chunk import WHOLE, Chunk, ChunkProgress
from .job import Job, Stage
from .refusals.errors import InvalidField


class ProgressReport(MsgStruct, frozen=True):
    """A worker's report: percents in 0 to 100, durations in microseconds; None is unchanged."""

    percent: float | None = None
    stage: str | None = None
    stage_percent: float | None = None
    message: str | None = None
    items_completed: int | None = None
    passed: tuple[tuple[str, int], ...] = ()
    """The stages that began and ended since the last report, each with its duration."""
    stage_duration: int | None = None
    """How long ago `stage` began; None: now."""


NO_REPORT: Final = ProgressReport()


def advance(job: Job, chunk: Chunk, report: ProgressReport) -> ChunkProgress:
    """Return the chunk's progress after a report; `done` never falls within an attempt.

    Raises InvalidField for a stage that is not in the job's plan or more items than the chunk has.
    """
    old = chunk.progress
    stage = old.stage if report.stage is None else report.stage
    entered = stage != old.stage
    _check(job, chunk, report)
    new = replace(
        old,
        stage=stage,
        stage_percent=(0.0 if entered else old.stage_percent) if report.stage_percent is None else report.stage_percent,
        message=old.message if report.message is None else report.message,
        items_completed=max(old.items_completed, report.items_completed or 0),
    )
    return replace(new, done=max(old.done, _done(job.spec.stages, chunk, report, new)))


def _check(job: Job, chunk: Chunk, report: ProgressReport) -> None:
    plan = [stage.name for stage in job.spec.stages]
    named = [(f"progress.passed_stages[{place}].stage", stage) for place, (stage, _) in enumerate(report.passed)]
    if report.stage is not None:
        named.append(("progress.stage", report.stage))
    for path, stage in named:
        if plan and stage not in plan:
            raise InvalidField((path, f"value {stage!r} must be a stage of the job's plan: {', '.join(plan)}"))
    if report.items_completed is not None and report.items_completed > chunk.items:
        rule = f"value {report.items_completed} must be at most the chunk's {chunk.items} items"
        raise InvalidField(("progress.items_completed", rule))


def _done(stages: Sequence[Stage], chunk: Chunk, report: ProgressReport, new: ChunkProgress) -> int:
    """Return the finished part in millionths: as reported, else by the plan's weights, else by items."""
    if report.percent is not None:
        return round(report.percent / 100 * WHOLE)
    if stages and new.stage:
        return round(staged(stages, new.stage, new.stage_percent or 0.0) * WHOLE)
    if chunk.items:
        return round(new.items_completed / chunk.items * WHOLE)
    return 0


def staged(stages: Sequence[Stage], name: str, stage_percent: float) -> float:
    """Return the finished part of a plan, 0 to 1, when stage `name` is at `stage_percent`."""
    total = before = part = 0.0
    reached = False
    for stage in stages:
        total += stage.weight
        if stage.name == name:
            reached = True
            part = stage.weight * stage_percent / 100
        elif not reached:
            before += stage.weight
    return min((before + part) / total, 1.0)
