"""Steps of the deletion of artifacts: the deleted, the missing and the remaining URIs."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.commands.runs import RunStep, StepLease, StepOutcome, complete, give_back
from jobledger_service.core.ledger.core_families import Runs
from jobledger_service.core.ledger.row_families import Needs
from jobledger_service.core.ledger.working_set import WorkingSet
from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.run import MAX_REPORTED, RunCursor, RunState
from jobledger_service.core.model.states import JobState


class FailedDeletion(MsgStruct, frozen=True):
    """A URI that could not be deleted; with `may_pass` another attempt may succeed."""

    index: int
    uri: str
    message: str
    may_pass: bool


class ArtifactsStep(RunStep, MsgStruct, frozen=True):
    """Take down what became of some URIs of a chunk; answers with how the step fared.

    `left` are the indexes within the chunk of those not yet tried, `failed` the failures of this attempt so far. When
    nothing is left, the chunk is completed or, with failures, fails; `jitter_sample` spreads the next attempt's wait.
    """

    step_lease: StepLease
    deleted: int
    missing: int
    left: Sequence[int]
    failed: Sequence[FailedDeletion]
    items: int
    jitter_sample: float

    @property
    def end(self) -> RunCursor:
        """The remaining work after this step, for this attempt or the next."""
        return tuple(sorted((*self.left, *(one.index for one in self.failed))))

    def needs(self) -> Needs:
        return self.step_lease.needs()

    def decide(self, work: WorkingSet) -> StepOutcome:
        held = self.step_lease.held(work)
        if held is None:
            return StepOutcome.LOST
        index, again = self.step_lease.lease.index, [one.index for one in self.failed]
        run = work.family(Runs).find(held[0].key).plus(deleted=self.deleted, missing=self.missing)
        run = _with_failures(run, index, self.failed).with_cursor(index, self.end)
        work.family(Runs).checkpoint(held[0].key, run)
        done = ProgressReport(items_completed=self.items - len(self.left) - len(again), message=_message(run))
        job, chunk = self.step_lease.report(work, done, _report(run))
        if job.state is JobState.CANCELLING:
            give_back(work, job, chunk)
        elif self.left:
            return StepOutcome.GOING
        elif not again:
            complete(work, job, chunk)
        else:
            failure = rules.Failure(
                _error(self.failed), self.jitter_sample, not any(one.may_pass for one in self.failed)
            )
            work.apply(rules.fail(job, chunk, rules.NOTHING_NEW, failure, work.chunks(job), work.now))
        return StepOutcome.ENDED


def _with_failures(run: RunState, index: int, failed: Sequence[FailedDeletion]) -> RunState:
    """Return the run with a chunk's failures in place of those of its previous attempt."""
    others = [one for one in run.reported if one["chunk"] != str(index)]
    reported = [{"chunk": str(index), "uri": one.uri, "message": one.message} for one in failed]
    kept: dict[str, int] = {**run.counts, f"failed.{index}": len(failed)}
    return RunState(run.cursors, kept, tuple([*others, *reported][:MAX_REPORTED]))


def _counts(run: RunState) -> Mapping[str, int]:
    failed = sum(count for name, count in run.counts.items() if name.startswith("failed."))
    return {"deleted": run.counts.get("deleted", 0), "missing": run.counts.get("missing", 0), "failed": failed}


def _report(run: RunState) -> Mapping[str, object]:
    return {**_counts(run), "failures": [{"uri": one["uri"], "message": one["message"]} for one in run.reported]}


def _message(run: RunState) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _counts(run).items())


def _error(failed: Iterable[FailedDeletion]) -> WorkError:
    first, *more = failed
    others = f", and {len(more)} more" if more else ""
    return WorkError("ARTIFACTS_NOT_DELETED", f"{first.uri}: {first.message}{others}")
