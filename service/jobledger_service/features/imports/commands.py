"""The command that imports jobs from another system."""

from collections.abc import Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.model.job import Inputs
from jobledger_service.core.model.refusals.errors import JobAlreadyExists, Refusal
from jobledger_service.core.write.commands.base import Command
from jobledger_service.core.write.core_families import OutputRows
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from . import imported_job as imports


class JobImport(MsgStruct, frozen=True):
    """A job to be imported, with its inputs."""

    job: imports.ImportedJob
    inputs: Inputs = Inputs()

    @property
    def weight(self) -> int:
        """The number of its rows."""
        return 1 + self.job.new.chunk_count


class ImportJobs(Command[list[bool | Refusal], list[bool | Refusal]], MsgStruct, frozen=True):
    """Create jobs of one owner with their history; answers for each whether it is new, or why it is refused."""

    jobs: Sequence[JobImport]
    actor: str

    @property
    def owner(self) -> str:
        return self.jobs[0].job.new.spec.owner

    @property
    def weight(self) -> int:
        return sum(job.weight for job in self.jobs)

    def needs(self) -> Needs:
        new_jobs = tuple(job.job.new for job in self.jobs)
        storing = [job.job.new.spec.key for job in self.jobs if job.job.artifacts]
        return Needs(jobs=tuple(new.spec.key for new in new_jobs), new_jobs=new_jobs, storing=storing)

    def decide(self, work: WorkingSet) -> list[bool | Refusal]:
        return [self._create(work, job) for job in self.jobs]

    def _create(self, work: WorkingSet, imported: JobImport) -> bool | Refusal:
        spec = imported.job.new.spec
        existing = work.find(spec.key)
        if existing is not None:
            return False if existing.spec.fingerprint == spec.fingerprint else JobAlreadyExists(spec.job_id)
        savepoint = work.undo.savepoint
        try:
            work.create(imports.import_job(imported.job, self.actor), imported.inputs)
            outputs = ((index, end.output) for index, end in imported.job.chunks.items())
            work.family(OutputRows).declare(spec.key, [*outputs, (JOB_ITSELF, imported.job.output)])
        except Refusal as refusal:
            work.undo.rollback(savepoint)
            return refusal.with_traceback(None)
        return True
