"""Steps of the deletion of artifacts, and their counts: deleted, missing, kept, failed."""

from collections.abc import Mapping

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.run import MAX_REPORTED, RunState
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.commands.runs import RunStep, StepLease, StepOutcome, complete, give_back
from jobledger_service.core.write.core_families import Runs
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .walk import Walk


class ArtifactsStep(RunStep, MsgStruct, frozen=True):
    """Record the outcome of a removal step: how many artifacts of a deleted job were deleted, missing or kept.

    Artifacts outside all roots are `kept`. The `last` step of an attempt completes the chunk, or fails it with
    failures; `jitter_sample` spreads the wait of the next attempt.
    """

    step_lease: StepLease
    deleted: int
    missing: int
    kept: int
    walk: Walk
    percent: float
    last: bool
    jitter_sample: float

    def needs(self) -> Needs:
        return self.step_lease.needs()

    def decide(self, work: WorkingSet) -> StepOutcome:
        held = self.step_lease.held(work)
        if held is None:
            return StepOutcome.LOST
        job_key, index = self.step_lease.lease.job_key, self.step_lease.lease.index
        stopping = held[0].state is JobState.CANCELLING
        run = work.family(Runs).find(job_key).plus(deleted=self.deleted, missing=self.missing, kept=self.kept)
        run = _with_failures(run, index, self.walk, reported=self.last or stopping).with_cursor(index, self.walk.cursor)
        work.family(Runs).checkpoint(job_key, run)
        report = _report(run, whole=self.last or stopping)
        job, chunk = self.step_lease.report(work, ProgressReport(self.percent, message=_message(run)), report)
        if stopping:
            give_back(work, job, chunk)
        elif not self.last:
            return StepOutcome.GOING
        elif not self.walk.failed:
            complete(work, job, chunk)
        else:
            may_pass = any(failure.may_pass for failure in self.walk.failures)
            failure = rules.Failure(_error(self.walk), self.jitter_sample, not_retryable=not may_pass)
            work.apply(rules.fail(job, chunk, rules.NOTHING_NEW, failure, work.chunks(job), work.now))
        return StepOutcome.ENDED


def _with_failures(run: RunState, index: int, walk: Walk, *, reported: bool) -> RunState:
    """Return the run with the number of a chunk's failures, and, when they are to be reported, with these."""
    counts: dict[str, int] = {**run.counts, f"failed.{index}": walk.failed}
    if not reported:
        return replace(run, counts=counts)
    others = [failure for failure in run.reported if failure["chunk"] != str(index)]
    of_chunk = [{"chunk": str(index), "uri": failure.uri, "message": failure.message} for failure in walk.failures]
    return replace(run, counts=counts, reported=tuple([*others, *of_chunk][:MAX_REPORTED]))


def _counts(run: RunState) -> Mapping[str, int]:
    failed = sum(count for name, count in run.counts.items() if name.startswith("failed."))
    return {name: run.counts.get(name, 0) for name in ("deleted", "missing", "kept")} | {"failed": failed}


def _report(run: RunState, *, whole: bool) -> Mapping[str, object]:
    """Return the report: there may be many steps, so failures are reported once an attempt."""
    failures = [{"uri": failure["uri"], "message": failure["message"]} for failure in run.reported]
    return {**_counts(run), "failures": failures} if whole else _counts(run)


def _message(run: RunState) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _counts(run).items())


def _error(walk: Walk) -> WorkError:
    others = walk.failed - 1
    first = f"{walk.failures[0].uri}: {walk.failures[0].message}" if walk.failures else "an artifact was not deleted"
    return WorkError("ARTIFACTS_NOT_DELETED", f"{first}, and {others} more" if others else first)
