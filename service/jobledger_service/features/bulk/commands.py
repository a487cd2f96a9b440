"""Steps of a bulk run: the verb and the cursor of the run are one transaction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.filters.filter import FilterFields, JobFilter
from jobledger_service.core.model.job import Job, job_id_of
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.refusals.errors import InvalidField, JobNotFound, JobUnreadable, Refusal
from jobledger_service.core.model.run import RunCursor, RunState
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.commands.callers import CancelJob, DeleteJob, RetryJob, UpdateJob
from jobledger_service.core.write.commands.runs import RunStep, StepLease, StepOutcome, complete, give_back
from jobledger_service.core.write.core_families import Runs
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS, WorkingSet
from jobledger_service.transport.errors import code_of

Single = CancelJob | RetryJob | UpdateJob | DeleteJob
ForJob = Callable[[str], Single]
"""Creates the command for one job, by its id."""

MAX_MESSAGE_LENGTH: Final = 300


class StepBatch(MsgStruct, frozen=True):
    """The jobs of one step, the cursor after it, and its progress; the `last` ends the chunk.

    `unreadable` are jobs that match and cannot be read: they are reported as refused.
    """

    jobs: Sequence[str]
    end: RunCursor
    progress: ProgressReport
    last: bool
    unreadable: Sequence[str] = ()


class BulkStep(RunStep, MsgStruct, frozen=True):
    """Apply one verb to a batch of jobs, each as if it were called alone, and return the outcome of the step.

    A job that no longer matches `filter` is skipped. A job that refuses the verb is counted and reported, and stops no
    other. The step ends the chunk when it is the `last`, or when the run was asked to stop. Several jobs that together
    have too many rows when they are loaded stay unchanged.
    """

    step_lease: StepLease
    batch: StepBatch
    verb: ForJob
    filter: JobFilter | None = None
    delete_artifacts: bool = False

    @property
    def weight(self) -> int:
        return len(self.batch.jobs) + 1

    def rows(self, work: WorkingSet) -> int:
        return 1 if self._is_too_large(work) else self._rows_of_jobs(work)

    def _rows_of_jobs(self, work: WorkingSet) -> int:
        return 1 + sum(self.verb(job_id_of(key)).rows(work) for key in self.batch.jobs)

    def _is_too_large(self, work: WorkingSet) -> bool:
        return len(self.batch.jobs) > 1 and self._rows_of_jobs(work) > MAX_BATCH_ROWS

    def needs(self) -> Needs:
        new_labels = self.verb("").needs().new_labels
        return replace(self.step_lease.needs(*self.batch.jobs), requeues=True, new_labels=new_labels)

    def decide(self, work: WorkingSet) -> StepOutcome:
        held = self.step_lease.held(work)
        if held is None:
            return StepOutcome.LOST
        run = work.family(Runs).find(held[0].key)
        if held[0].state is JobState.CANCELLING:
            give_back(work, *self.step_lease.report(work, ProgressReport(), _report(run, whole=True)))
            return StepOutcome.ENDED
        if self._is_too_large(work):
            return StepOutcome.TOO_LARGE
        run = self._do(work, run).with_cursor(self.step_lease.lease.index, self.batch.end)
        work.family(Runs).checkpoint(held[0].key, run)
        # a filter may match a million jobs: its refusals are reported once, not with each of its events
        whole = self.batch.last or self.filter is None
        job, chunk = self.step_lease.report(work, _with_counts(self.batch.progress, run), _report(run, whole=whole))
        if self.batch.last:
            complete(work, job, chunk)
        return StepOutcome.ENDED if self.batch.last else StepOutcome.GOING

    def _do(self, work: WorkingSet, run: RunState) -> RunState:
        applied: list[Job] = []
        unchanged = 0
        for key in self.batch.unreadable:
            run = run.plus(refused=1).with_reports(_refused(job_id_of(key), JobUnreadable(job_id_of(key))))
        for key in self.batch.jobs:
            before, savepoint = work.find(key), work.undo.savepoint
            try:
                work.check_readable(key)
                if self.filter is not None and (before is None or not self.filter.matches(FilterFields.of(before))):
                    continue
                self._do_one(work, key, before)
            except Refusal as refusal:
                work.undo.rollback(savepoint)
                run = run.plus(refused=1).with_reports(_refused(job_id_of(key), refusal, before))
                continue
            if (after := work.last(key)) is before:
                unchanged += 1
            else:
                applied.append(after)
        run = run.plus(applied=len(applied), unchanged=unchanged)
        if self.delete_artifacts and applied:
            run = run.plus(artifact_jobs=work.remove_artifacts(applied, self.verb("").actor) is not None)
        return run

    def _do_one(self, work: WorkingSet, key: str, job: Job | None) -> None:
        job_id = job_id_of(key)
        if job is None:
            raise JobNotFound(job_id)
        if is_reserved(job.spec.kind):
            raise InvalidField(
                ("job_id", f"value {job_id!r} must not be a job of the service's own: change it by a call for it alone")
            )
        self.verb(job_id).decide(work)


def _refused(job_id: str, refusal: Refusal, job: Job | None = None) -> Mapping[str, str]:
    uid = {} if job is None else {"uid": job.spec.uid}
    return {"job_id": job_id, **uid, "reason": refusal.reason, "message": str(refusal)[:MAX_MESSAGE_LENGTH]}


def _report(run: RunState, *, whole: bool) -> Mapping[str, object]:
    counts: dict[str, object] = {"applied": 0, "unchanged": 0, "refused": 0, **run.counts}
    return {**counts, "refusals": [_shown(refusal) for refusal in run.reported]} if whole else counts


def _shown(refusal: Mapping[str, str]) -> Mapping[str, object]:
    """Return a refusal for the report, whose error is an EntryError in JSON."""
    named = {name: refusal[name] for name in ("job_id", "uid") if name in refusal}
    reason = refusal["reason"]
    error = {"code": code_of(reason), "reason": f"ERROR_REASON_{reason}", "message": refusal["message"]}
    return {**named, "error": error}


def _with_counts(progress: ProgressReport, run: RunState) -> ProgressReport:
    counts_text = ", ".join(f"{run.counts.get(name, 0):,} {name}" for name in ("applied", "unchanged", "refused"))
    return ProgressReport(percent=progress.percent, items_completed=progress.items_completed, message=counts_text)
