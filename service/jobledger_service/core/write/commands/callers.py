"""The commands of JobService."""

from collections.abc import Sequence

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.database.rows.batch_rows import Request
from jobledger_service.core.model import lifecycle, updates
from jobledger_service.core.model.job import Inputs, job_id_of, job_key
from jobledger_service.core.model.refusals.errors import (
    InvalidField,
    JobAlreadyExists,
    Refusal,
    RequestIdReused,
    UniqueKeyTaken,
)
from jobledger_service.core.model.states import RETRYABLE, UNFINISHED, WAITING
from jobledger_service.core.write.core_families import RequestIds, UniqueKeys, full_key
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .base import Command, PartialCommand, chunks_in, deleted_rows


def request_key(owner: str, request_id: str) -> tuple[str, ...]:
    """Return the key of a remembered request; empty for a request without an id."""
    return (f"{owner}/{request_id}",) if request_id else ()


def _repeated(work: WorkingSet, keys: Sequence[str], fingerprint: bytes) -> str | None:
    """Return the job of an earlier request with this id and content.

    Raises RequestIdReused for other content; JobUnreadable.
    """
    known = work.family(RequestIds).find(keys[0]) if keys else None
    if known is None or known.job_key is None:
        return None
    if known.fingerprint != fingerprint:
        raise RequestIdReused(keys[0].partition("/")[2], job_id_of(known.job_key))
    work.check_readable(known.job_key)
    return known.job_key


class Creation(MsgStruct, frozen=True):
    """The job that a request is answered with, and whether it is new.

    `encoded` is the job when the batch does not keep it, or was committed before.
    """

    key: str
    is_new: bool
    encoded: bytes = b""

    def answer(self, work: WorkingSet) -> tuple[bytes, bool]:
        """Return the encoded job, and whether it is new."""
        return self.encoded or work.encode(self.key), self.is_new

    def kept(self, work: WorkingSet) -> "Creation":
        """Return the outcome with the job as it is now, for an answer after a later commit."""
        return self if self.encoded else replace(self, encoded=work.encode_now(self.key))


class CreateJob(Command[Creation, tuple[bytes, bool]], MsgStruct, frozen=True):
    """Create a job; answers with the encoded job and whether it is new. With `validate_only` nothing is kept."""

    new: lifecycle.NewJob
    actor: str
    request_id: str = ""
    inputs: Inputs = Inputs()
    validate_only: bool = False
    refuses_conflict: bool = False
    """Whether it is refused while another job has its unique key; else that job is the answer."""
    has_new_id: bool = False
    """Whether the service made its job_id just now: no other job has it, and none is searched for."""

    @property
    def owner(self) -> str:
        return self.new.spec.owner

    @property
    def weight(self) -> int:
        return 1 + self.new.chunk_count

    def rows(self, work: WorkingSet) -> int:
        return self.weight if work.find(self.new.spec.key) is None else 1

    def needs(self) -> Needs:
        spec = self.new.spec
        keys = request_key(spec.owner, self.request_id)
        unique = (full_key(spec),) if spec.unique_key else ()
        jobs = () if self.has_new_id else (spec.key,)
        return Needs(jobs=jobs, rows={RequestIds: keys, UniqueKeys: unique}, new_jobs=(self.new,))

    def decide(self, work: WorkingSet) -> Creation:
        spec = self.new.spec
        keys = request_key(spec.owner, self.request_id)
        if known := _repeated(work, keys, spec.fingerprint):
            return Creation(known, is_new=False)
        existing = work.find(spec.key)
        if existing is not None:
            if existing.spec.fingerprint != spec.fingerprint:
                raise JobAlreadyExists(spec.job_id)
            return Creation(spec.key, is_new=False)
        if spec.unique_key and (holder := work.family(UniqueKeys).find(spec, work.now)):
            if self.refuses_conflict:
                raise UniqueKeyTaken(spec.unique_key, job_id_of(holder))
            work.check_readable(holder)
            return Creation(holder, is_new=False)
        savepoint = work.undo.savepoint
        work.create(lifecycle.create(self.new, self.actor, work.now, work.calendar), self.inputs)
        if self.validate_only:
            encoded = work.encode_now(spec.key)
            work.undo.rollback(savepoint)
            return Creation(spec.key, is_new=True, encoded=encoded)
        for key in keys:
            work.family(RequestIds).record(key, Request(spec.fingerprint, spec.key), work.now)
        return Creation(spec.key, is_new=True)

    def answer(self, decided: Creation, work: WorkingSet) -> tuple[bytes, bool]:
        return decided.answer(work)


class CreateJobs(
    PartialCommand[Sequence[Creation | Refusal], list[tuple[bytes, bool] | Refusal], CreateJob, Creation | Refusal],
    MsgStruct,
    frozen=True,
):
    """Create jobs of one owner; answers for each as CreateJob does, or with its refusal.

    Jobs beyond the bound of one commit are left to the next one, with the outcomes so far in `decided`.
    """

    items: Sequence[CreateJob]
    decided: Sequence[Creation | Refusal] = ()

    @property
    def owner(self) -> str:
        return self.items[0].owner

    @property
    def weight(self) -> int:
        return sum(item.weight for item in self.items)

    def rows_of(self, work: WorkingSet, item: CreateJob) -> int:
        return item.rows(work)

    def needs(self) -> Needs:
        return Needs.of_all([item.needs() for item in self.items])

    def conclude(self, results: list[Creation | Refusal], work: WorkingSet) -> Sequence[Creation | Refusal] | Postponed:
        rest = self.items[len(results) :]
        if not rest:
            return [*self.decided, *results]
        done = [result.kept(work) if isinstance(result, Creation) else result for result in results]
        return Postponed(CreateJobs(rest, [*self.decided, *done]))

    def do(self, work: WorkingSet, item: CreateJob) -> Creation | Refusal:
        savepoint = work.undo.savepoint
        try:
            return item.decide(work)
        except Refusal as refusal:
            work.undo.rollback(savepoint)
            return refusal.with_traceback(None)

    def answer(self, decided: Sequence[Creation | Refusal], work: WorkingSet) -> list[tuple[bytes, bool] | Refusal]:
        return [result if isinstance(result, Refusal) else result.answer(work) for result in decided]


class FindCreated(Command[str | None, bytes | None], MsgStruct, frozen=True):
    """Find the job that an earlier request created; answers with it, encoded, None when the request had no effect."""

    owner: str
    request_id: str
    fingerprint: bytes

    def needs(self) -> Needs:
        return Needs(rows={RequestIds: request_key(self.owner, self.request_id)})

    def decide(self, work: WorkingSet) -> str | None:
        return _repeated(work, request_key(self.owner, self.request_id), self.fingerprint)

    def answer(self, decided: str | None, work: WorkingSet) -> bytes | None:
        return None if decided is None else work.encode(decided)


class CancelJob(
    Command[tuple[lifecycle.CancelOutcome, str], tuple[lifecycle.CancelOutcome, bytes]], MsgStruct, frozen=True
):
    """Stop a job; answers with the outcome and the encoded job."""

    owner: str
    job_id: str
    how: lifecycle.Cancellation
    actor: str
    etag: str = ""
    uid: str = ""

    def needs(self) -> Needs:
        return Needs(jobs=(job_key(self.owner, self.job_id),))

    def rows(self, work: WorkingSet) -> int:
        return 1 + chunks_in(work, job_key(self.owner, self.job_id), *lifecycle.stopped_by(self.how))

    def decide(self, work: WorkingSet) -> tuple[lifecycle.CancelOutcome, str]:
        job = work.job(self.owner, self.job_id, self.uid)
        lifecycle.check_etag(job, self.etag)
        outcome, step = lifecycle.cancel(job, work.chunks(job), self.how, self.actor, work.now)
        if step is not None:
            work.apply(step)
        return outcome, job.key

    def answer(
        self, decided: tuple[lifecycle.CancelOutcome, str], work: WorkingSet
    ) -> tuple[lifecycle.CancelOutcome, bytes]:
        return decided[0], work.encode(decided[1])


class _JobCommand(Command[str, bytes]):
    """A command that answers with its job, encoded."""

    __slots__ = ()

    def answer(self, decided: str, work: WorkingSet) -> bytes:
        return work.encode(decided)


class RetryJob(_JobCommand, MsgStruct, frozen=True):
    """Start another run, or retry chunks within the present one; answers with the job."""

    owner: str
    job_id: str
    chunk_indexes: Sequence[int]
    actor: str
    reason: str = ""
    request_keys: Sequence[str] = ()
    """The key of the request, as request_key returns it: of the caller's owner, also for another owner's job."""
    fingerprint: bytes = b""
    etag: str = ""
    uid: str = ""

    def needs(self) -> Needs:
        return Needs(jobs=(job_key(self.owner, self.job_id),), rows={RequestIds: self.request_keys}, requeues=True)

    def rows(self, work: WorkingSet) -> int:
        return 1 + (len(self.chunk_indexes) or chunks_in(work, job_key(self.owner, self.job_id), *RETRYABLE))

    def decide(self, work: WorkingSet) -> str:
        job = work.job(self.owner, self.job_id, self.uid)
        if not _repeated(work, self.request_keys, self.fingerprint):
            lifecycle.check_etag(job, self.etag)
            chunks, indexes = work.chunks(job), self.chunk_indexes
            step = lifecycle.retry(job, chunks, indexes, self.actor, self.reason, work.now, work.calendar)
            if job.spec.unique_key:
                work.family(UniqueKeys).check_free(job, work.now)
            work.apply(step)
            for key in self.request_keys:
                work.family(RequestIds).record(key, Request(self.fingerprint, job.key), work.now)
        return job.key


class UpdateJob(_JobCommand, MsgStruct, frozen=True):
    """Change a job's fields; answers with the job."""

    owner: str
    job_id: str
    new: updates.JobUpdate
    actor: str
    etag: str = ""
    reason: str = ""
    uid: str = ""

    def needs(self) -> Needs:
        jobs = (job_key(self.owner, self.job_id),)
        return Needs(jobs=jobs, requeues="schedule_time" in self.new.fields, new_labels=self.new.new_labels)

    def rows(self, work: WorkingSet) -> int:
        fields = self.new.fields
        waiting = WAITING if fields & {"priority", "schedule_time"} else ()
        changed = UNFINISHED if "retry_policy" in fields else waiting
        return 1 + chunks_in(work, job_key(self.owner, self.job_id), *changed)

    def decide(self, work: WorkingSet) -> str:
        job = work.job(self.owner, self.job_id, self.uid)
        lifecycle.check_etag(job, self.etag)
        if not self.new.paths:
            raise InvalidField(("update_mask", "must name a field"))
        step = updates.update(job, self.new, self.actor, work.now, self.reason, work.calendar)
        if step is not None:
            work.apply(step)
        return job.key


class DeleteJob(Command[str | None, bytes | None], MsgStruct, frozen=True):
    """Delete a job; answers with the job that deletes its artifacts, encoded."""

    owner: str
    job_id: str
    actor: str
    force: bool = False
    etag: str = ""
    reason: str = ""
    delete_artifacts: bool = False
    uid: str = ""

    def needs(self) -> Needs:
        return Needs(jobs=(job_key(self.owner, self.job_id),))

    def rows(self, work: WorkingSet) -> int:
        return deleted_rows(work, job_key(self.owner, self.job_id))

    def decide(self, work: WorkingSet) -> str | None:
        job = work.job(self.owner, self.job_id, self.uid)
        lifecycle.check_etag(job, self.etag)
        change = lifecycle.delete(job, self.actor, force=self.force, reason=self.reason)
        work.delete(job, change)
        return work.remove_artifacts([job], self.actor) if self.delete_artifacts else None

    def answer(self, decided: str | None, work: WorkingSet) -> bytes | None:
        return None if decided is None else work.encode(decided)
