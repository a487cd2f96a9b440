"""Stages that a worker passed between two reports are timed by what it says, within what the service knows."""

from jobledger_service.core.model import lifecycle, work
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.progress import ProgressReport

SECOND = 1_000_000
BEGIN = 1_000 * SECOND


def claimed() -> tuple[Job, Chunk]:
    spec = JobSpec("o", "j", "k", b"")
    step = lifecycle.create(lifecycle.NewJob(spec, lifecycle.sizes_of(10, 10)), "caller", BEGIN)
    step = work.claim(step.job, step.chunks[0], work.Claim("w", 60 * SECOND), BEGIN)
    return step.job, step.chunks[0]


def beat(job: Job, chunk: Chunk, now: int, **progress: object) -> tuple[Job, Chunk]:
    report = work.WorkReport(ProgressReport(**progress))
    step = work.heartbeat(job, chunk, report, 60 * SECOND, now)
    return step.job, step.chunks[0]


def spans(job: Job) -> dict[str, tuple[int, int | None, int]]:
    """Return begin and end, in seconds after the claim, and duration, by stage."""
    return {
        t.stage: (
            (t.start_time - BEGIN) // SECOND,
            None if t.end_time is None else (t.end_time - BEGIN) // SECOND,
            t.duration // SECOND,
        )
        for t in job.stage_timings
    }


def test_passed_stages_are_laid_out_backwards_from_the_report():
    job, chunk = beat(*claimed(), BEGIN + SECOND, stage="a")
    passed = (("b", 2 * SECOND), ("c", 3 * SECOND))
    job, chunk = beat(job, chunk, BEGIN + 10 * SECOND, stage="d", passed=passed, stage_duration=SECOND)
    assert spans(job) == {"a": (1, 4, 3), "b": (4, 6, 2), "c": (6, 9, 3), "d": (9, None, 0)}
    step = work.complete(job, chunk, work.NOTHING_NEW, work.NO_RESULTS, BEGIN + 12 * SECOND)
    assert spans(step.job)["d"] == (9, 12, 3)


def test_a_stage_that_is_entered_again_adds_up():
    job, chunk = beat(*claimed(), BEGIN + SECOND, stage="a")
    job, chunk = beat(job, chunk, BEGIN + 6 * SECOND, stage="a", passed=(("b", SECOND),), stage_duration=2 * SECOND)
    step = work.complete(job, chunk, work.NOTHING_NEW, work.NO_RESULTS, BEGIN + 8 * SECOND)
    assert spans(step.job) == {"a": (1, 8, 6), "b": (3, 4, 1)}


def test_no_stage_begins_before_what_the_service_knows_whatever_the_worker_reports():
    job, chunk = claimed()
    year = 365 * 86_400 * SECOND
    job, chunk = beat(job, chunk, BEGIN + 5 * SECOND, stage="b", passed=(("a", year),), stage_duration=year)
    assert spans(job) == {"a": (0, 0, 0), "b": (0, None, 0)}


def test_a_report_that_is_sent_again_counts_nothing_twice():
    job, chunk = beat(*claimed(), BEGIN + SECOND, stage="a")
    first = {"stage": "c", "passed": (("b", SECOND),)}
    job, chunk = beat(job, chunk, BEGIN + 5 * SECOND, **first, stage_duration=SECOND)
    once = spans(job)
    job, chunk = beat(job, chunk, BEGIN + 7 * SECOND, **first, stage_duration=3 * SECOND)
    assert (spans(job)["a"], spans(job)["b"]) == (once["a"], once["b"])
    step = work.complete(job, chunk, work.NOTHING_NEW, work.NO_RESULTS, BEGIN + 9 * SECOND)
    assert spans(step.job) == {"a": (1, 3, 2), "b": (3, 4, 1), "c": (4, 9, 5)}
