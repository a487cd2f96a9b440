"""Steps of the deletion of artifacts: what was deleted, what was missing, what is left to try."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from jobledger_service.core.ledger.commands.base import OneJob
from jobledger_service.core.ledger.commands.runs import Hold, OfRun, StepOutcome, complete, give_back
from jobledger_service.core.ledger.working_set import Needs, WorkingSet
from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.run import MOST_TOLD, Cursor, Run
from jobledger_service.core.model.states import JobState


class Failed(Struct, frozen=True):
    """A URI that could not be deleted; one that `may_pass` is worth another attempt."""

    index: int
    uri: str
    message: str
    may_pass: bool


class ArtifactsStep(OfRun, OneJob, Struct, frozen=True):
    """Take down what became of some URIs of a chunk; answers with how the step fared.

    `left` are the indexes within the chunk of those not yet tried, `failed` the failures of this attempt so far. When
    nothing is left, the chunk is completed or, with failures, fails; `roll` spreads the wait before its next attempt.
    """

    hold: Hold
    deleted: int
    missing: int
    left: Sequence[int]
    failed: Sequence[Failed]
    items: int
    roll: float

    @property
    def end(self) -> Cursor:
        """What is left after this step, for this attempt or the next."""
        return tuple(sorted((*self.left, *(one.index for one in self.failed))))

    def needs(self) -> Needs:
        return self.hold.needs()

    def decide(self, work: WorkingSet) -> StepOutcome:
        held = self.hold.held(work)
        if held is None:
            return StepOutcome.LOST
        index, again = self.hold.lease.index, [one.index for one in self.failed]
        run = work.run(held[0].key).plus(deleted=self.deleted, missing=self.missing)
        run = _with_failures(run, index, self.failed).at(index, self.end)
        work.go_on(held[0].key, run)
        done = ProgressReport(items_completed=self.items - len(self.left) - len(again), message=_message(run))
        job, chunk = self.hold.report(work, done, _report(run))
        if job.state is JobState.CANCELLING:
            give_back(work, job, chunk)
        elif self.left:
            return StepOutcome.GOING
        elif not again:
            complete(work, job, chunk)
        else:
            failure = rules.Failure(_error(self.failed), self.roll, not any(one.may_pass for one in self.failed))
            work.apply(rules.fail(job, chunk, rules.NOTHING_NEW, failure, work.chunks(job), work.now))
        return StepOutcome.ENDED

    def answer(self, decided: StepOutcome, work: WorkingSet) -> StepOutcome:  # noqa: ARG002  the form of a command
        return decided


def _with_failures(run: Run, index: int, failed: Sequence[Failed]) -> Run:
    """Return the run with a chunk's failures in place of those of its attempt before."""
    others = [one for one in run.told if one["chunk"] != str(index)]
    told = [{"chunk": str(index), "uri": one.uri, "message": one.message} for one in failed]
    kept: dict[str, int] = {**run.counts, f"failed.{index}": len(failed)}
    return Run(run.cursors, kept, tuple([*others, *told][:MOST_TOLD]))


def _counts(run: Run) -> Mapping[str, int]:
    failed = sum(count for name, count in run.counts.items() if name.startswith("failed."))
    return {"deleted": run.counts.get("deleted", 0), "missing": run.counts.get("missing", 0), "failed": failed}


def _report(run: Run) -> Mapping[str, object]:
    return {**_counts(run), "failures": [{"uri": one["uri"], "message": one["message"]} for one in run.told]}


def _message(run: Run) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _counts(run).items())


def _error(failed: Iterable[Failed]) -> WorkError:
    first, *more = failed
    others = f", and {len(more)} more" if more else ""
    return WorkError("ARTIFACTS_NOT_DELETED", f"{first.uri}: {first.message}{others}")
