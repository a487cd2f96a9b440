"""What may have happened to a job, played once through the domain, and then told of many jobs at other times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from jobledger_service.core.ledger.stored_chunks import StoredChunks
from jobledger_service.core.model.change import Change, Step
from jobledger_service.core.model.chunk import Chunk, WorkError
from jobledger_service.core.model.job import Job, JobSpec, Stage
from jobledger_service.core.model.lifecycle import Cancellation, NewJob, cancel, create
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.rollup import Passage, Tally
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure, WorkReport, claim, complete, fail, heartbeat
from msgspec.structs import replace

DAY: Final = 86_400 * SECOND
LEASE: Final = 30 * DAY
"""So long that a server that is started on the jobs finds none that has run out."""
ITEMS: Final = 500
STAGES: Final = (Stage("fetch", 1.0), Stage("process", 3.0))
ERRORS: Final = (
    WorkError("TIMEOUT", "the upstream host did not answer within 30 seconds"),
    WorkError("BAD_INPUT", "page 17 is not a readable image"),
    WorkError("OUT_OF_MEMORY", "the worker was stopped: it used more than 8 GiB"),
    WorkError("DENIED", "access to the bucket was refused"),
    WorkError("CODEC", "unsupported codec in stream 2"),
)


@dataclass(frozen=True, slots=True)
class Plot:
    """How a story goes: the state that it ends in, how many chunks, and seconds until it starts and that it takes."""

    state: JobState
    chunks: int
    waits: int
    takes: int
    error: int = 0


@dataclass(slots=True)
class Story:
    """A job that was created at 0 and what each commit did to it."""

    job: Job
    chunks: dict[int, Chunk]
    passages: list[tuple[int, Passage]] = field(default_factory=list)

    def commit(self, now: int, steps: Sequence[Step]) -> None:
        """Take what one commit decided; each step was made from the job that the one before left."""
        sweeps = [step.sweep for step in steps if step.sweep is not None]
        swept = (sweep.applied(chunk) for sweep in sweeps for chunk in self.chunks.values() if sweep.covers(chunk))
        changed = {chunk.index: chunk for chunk in (*(c for step in steps for c in step.chunks), *swept)}
        changes = [step.change for step in steps if isinstance(step.change, Change)]
        before = self.job if self.passages else None
        self.job = replace(steps[-1].job, revision=len(self.passages) + 1, update_time=now)
        self.chunks |= changed
        self.passages.append(
            (now, Passage(before, self.job, deleted=False, changes=changes, chunks=changed, artifacts={}))
        )


@lru_cache(maxsize=8_192)
def played(plot: Plot) -> Story:
    """Return the story of a plot."""
    new = NewJob(JobSpec("", "", "", b"", stages=STAGES), [ITEMS] * plot.chunks)
    created = create(new, "caller", 0)
    story = Story(created.job, {})
    story.commit(0, [created])
    start = plot.waits * SECOND
    end = start + plot.takes * SECOND
    if plot.state is JobState.CANCELLED and plot.error == 0:
        _cancel(story, start, force=False)
    elif plot.state is not JobState.QUEUED:
        _work(story, plot, start, end)
    if story.job.state is not plot.state:
        raise ValueError(f"{plot} ends in {story.job.state}")
    return story


def _work(story: Story, plot: Plot, start: int, end: int) -> None:
    """Let one worker take all chunks, report, and come to the end that the plot asks for."""
    by = Claim("worker-7.pool-a", LEASE)
    _each(story, start, lambda job, chunk: claim(job, chunk, by, start))
    half = (start + end) // 2
    report = WorkReport("", ProgressReport(percent=50.0, stage="fetch", message="halfway"))
    _each(story, half, lambda job, chunk: heartbeat(job, chunk, report, LEASE, half))
    match plot.state:
        case JobState.COMPLETED:
            _each(story, end, lambda job, chunk: complete(job, chunk, NOTHING_NEW, "", end))
        case JobState.FAILED:
            _each(story, end, lambda job, chunk: _end(job, chunk, plot, end))
        case JobState.CANCELLING | JobState.CANCELLED:
            _cancel(story, end, force=plot.state is JobState.CANCELLED)


def _end(job: Job, chunk: Chunk, plot: Plot, now: int) -> Step:
    """Fail the last chunk, and complete the others."""
    if chunk.index < plot.chunks - 1:
        return complete(job, chunk, NOTHING_NEW, "", now)
    failure = Failure(ERRORS[plot.error], 0.0, not_retryable=True)
    return fail(job, chunk, NOTHING_NEW, failure, _all(job, {}), now)


def _each(story: Story, now: int, decide: Callable[[Job, Chunk], Step]) -> None:
    """Commit one decision for each chunk."""
    steps: list[Step] = []
    for chunk in list(story.chunks.values()):
        steps.append(decide(steps[-1].job if steps else story.job, chunk))
    story.commit(now, steps)


def _cancel(story: Story, now: int, *, force: bool) -> None:
    how = Cancellation(LEASE, "no longer needed", force=force)
    _, step = cancel(story.job, _all(story.job, story.chunks), how, "caller", now)
    if step is not None:
        story.commit(now, [step])


def _all(job: Job, chunks: Mapping[int, Chunk]) -> StoredChunks:
    return StoredChunks(job.key, chunks, lambda: None)


def moved(job: Job, to: Job) -> Job:
    """Return a job of a story with the identity of `to`, and its times counted from the creation of that."""
    by = to.spec.create_time
    rate = job.progress.rate
    progress = replace(job.progress, rate=rate and replace(rate, since=rate.since + by, at=rate.at + by))
    return replace(
        job,
        spec=to.spec,
        display_name=to.display_name,
        priority=to.priority,
        labels=to.labels,
        progress=progress,
        stage_timings=tuple(replace(one, **_times(one, by, _TIMING)) for one in job.stage_timings),
        **_times(job, by, _JOB),
    )


def moved_chunk(chunk: Chunk, job: Job) -> Chunk:
    """Return a chunk of a story as one of a job."""
    return replace(chunk, job_key=job.key, **_times(chunk, job.spec.create_time, _CHUNK))


_JOB: Final = ("update_time", "start_time", "end_time", "cancel_deadline")
_TIMING: Final = ("start_time", "end_time")
_CHUNK: Final = ("create_time", "stage_time", "start_time", "end_time", "lease_expire_time")


def _times(value: object, by: int, names: Sequence[str]) -> dict[str, int]:
    """Return the times that a value has, later."""
    return {name: time + by for name in names if (time := getattr(value, name)) is not None}


def tell(story: Story, to: Job, tally: Tally) -> Job:
    """Return the job that a story makes of `to`, and add what happened to it to a tally."""
    before: Job | None = None
    for now, passage in story.passages:
        job = moved(passage.job, to)
        tally.add(replace(passage, before=before, job=job), to.spec.create_time + now)
        before = job
    return job
