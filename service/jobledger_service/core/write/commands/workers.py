"""The commands that grant leases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.database.rows.batch_rows import Request
from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import Chunk, ChunkKey
from jobledger_service.core.model.history.change import Step
from jobledger_service.core.model.job import Inputs, Job, job_key
from jobledger_service.core.model.leases import Lease, holds, lease_of
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.model.refusals.errors import ChunkNotClaimable, ChunkNotFound, JobUnreadable
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.write.core_families import RequestIds, claim_key
from jobledger_service.core.write.picking import ClaimQuery
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Needs, RowFamily
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS, WorkingSet

from .base import Command
from .reports import EndReports, LeaseAnswer

LOOKS_PER_ROW: Final = 10
"""How many owners and kinds are searched for work at the cost of one changed row: 1 µs each on SQLite."""


class ClaimedChunk(MsgStruct, frozen=True):
    """A chunk under a new lease, with the inputs for its worker."""

    job: Job
    chunk: Chunk
    lease: Lease
    inputs: Inputs


def _claimed(keys: Sequence[ChunkKey], work: WorkingSet) -> list[ClaimedChunk]:
    claimed = []
    for key, index in keys:
        job = work.last(key)
        chunk = work.chunk(key, index)
        claimed.append(ClaimedChunk(job, chunk, lease_of(job, chunk), work.inputs(key)))
    return claimed


class ClaimChunks(Command[list[ChunkKey] | None, list[ClaimedChunk] | None], MsgStruct, frozen=True):
    """Lease up to `limit` chunks of the given kinds, or jobs by key; answers with those that were available.

    None, instead of an empty list, means that other replicas hold the waiting chunks: some may be available in a
    moment.
    """

    owner: str
    kinds: tuple[str, ...]
    limit: int
    by: rules.Claim
    job_keys: tuple[str, ...] = ()
    served: Owners | None = None
    """The owners whose chunks it may lease, None for its own."""
    serves: Owners | None = None
    """The owners whose chunks its caller may hold, whatever it claims now; None for its own."""
    request_id: str = ""
    """With it, a repeated claim is answered with the leases of the first that are still held."""

    @property
    def query(self) -> ClaimQuery:
        """The chunks that it may lease."""
        owners = None if self.job_keys else self.served  # jobs are named with their owners
        return ClaimQuery(self.owner, self.kinds, self.limit, self.job_keys, owners)

    @property
    def weight(self) -> int:
        if self.served is not None and not self.job_keys:
            return self.limit + len(self.served.names) * len(self.kinds) // LOOKS_PER_ROW
        # Each further kind or job is a walk of its own: on PostgreSQL it takes as long as changing a row.
        return self.limit + len(self.kinds) + len(self.job_keys) - 1

    def rows(self, _work: WorkingSet, /) -> int:
        return min(self.weight, MAX_BATCH_ROWS)

    @property
    def rows_needed(self) -> Mapping[type[RowFamily], Sequence[str]]:
        """The keys of the rows that it needs, beside those of chunks."""
        return {RequestIds: (claim_key(self.owner, self.request_id),)} if self.request_id else {}

    def needs(self) -> Needs:
        return Needs(claim_query=self.query, starts=True, rows=self.rows_needed)

    def decide(self, work: WorkingSet) -> list[ChunkKey] | None:
        picked = work.picked(self.query)
        if self.request_id and (held := self._held_before(work)):
            return held
        taken = [*self._taken(work, picked.chunks)]
        if self.request_id and taken:
            leases = tuple(lease_of(work.last(key), work.chunk(key, index)) for key, index in taken)
            work.family(RequestIds).record(claim_key(self.owner, self.request_id), Request(leases=leases), work.now)
        missed = picked.contended or len(taken) < len(picked.chunks)
        return None if missed and not taken else taken

    def _held_before(self, work: WorkingSet) -> list[ChunkKey]:
        """Extend the leases that this request was granted before, and return their chunks."""
        known = work.family(RequestIds).find(claim_key(self.owner, self.request_id))
        owners = self.serves or Owners(frozenset({self.owner}))
        held = []
        for lease in known.leases if known else ():
            job = work.find(lease.job_key)
            if job is None or job.spec.owner not in owners:  # claimed with a key that serves more than this one
                continue
            with suppress(JobUnreadable, ChunkNotFound):
                if holds(lease, job, chunk := work.chunk(lease.job_key, lease.index), work.now):
                    work.apply(rules.heartbeat(job, chunk, rules.NOTHING_NEW, self.by.lease_duration, work.now))
                    work.mark_claimed((job.key, chunk.index))
                    held.append((job.key, chunk.index))
        return held

    def _taken(self, work: WorkingSet, chunks: Iterable[ChunkKey]) -> Iterator[ChunkKey]:
        """Lease these chunks until the event of a job would become too large; raises Postponed for the first."""
        taken = 0
        for key in chunks:
            savepoint = work.undo.savepoint
            try:
                work.begin(1)
                is_claimed = _claim(work, key, self.by)
            except Postponed:
                if not taken:
                    raise
                work.undo.rollback(savepoint)
                return
            if is_claimed:
                taken += 1
                yield key

    def answer(self, decided: list[ChunkKey] | None, work: WorkingSet) -> list[ClaimedChunk] | None:
        return None if decided is None else _claimed(decided, work)


def _claim(work: WorkingSet, key: ChunkKey, by: rules.Claim) -> bool:
    """Lease a found chunk, unless an earlier command leased or stopped it, or deleted its job."""
    job = work.find(key[0])
    if job is None:
        return False
    kept = work.starting(job)
    if kept is not job:
        if work.has_room_for(job.counts.pending):
            work.begin(job.counts.pending)
            work.apply(Step(kept))
        return False
    try:
        work.apply(rules.claim(job, work.chunk(*key), by, work.now))
    except (ChunkNotClaimable, JobUnreadable):
        return False
    return True


class ReportAndClaim(
    Command[tuple[list[LeaseAnswer], list[ChunkKey]], tuple[list[LeaseAnswer], list[ClaimedChunk]]],
    MsgStruct,
    frozen=True,
):
    """End leases, then lease the next chunks, in one commit; a report of several commits claims in the last of them."""

    reserved = True
    report: EndReports
    claim: ClaimChunks

    @property
    def owner(self) -> str:
        return self.report.owner

    @property
    def weight(self) -> int:
        return self.report.weight + self.claim.weight

    def rows(self, work: WorkingSet) -> int:
        return self.report.rows(work)

    def needs(self) -> Needs:
        return replace(self.report.needs(), claim_query=self.claim.query, starts=True, rows=self.claim.rows_needed)

    def decide(self, work: WorkingSet) -> tuple[list[LeaseAnswer], list[ChunkKey]] | Postponed:
        answers = self.report.decide(work)
        if isinstance(answers, Postponed):
            return Postponed(replace(self, report=answers.rest))
        savepoint = work.undo.savepoint
        try:
            work.begin(self.claim.rows(work))
            return answers, self.claim.decide(work) or []
        except Postponed:
            if not self.report.items:
                raise
            work.undo.rollback(savepoint)
            return Postponed(replace(self, report=replace(self.report, items=(), answered=tuple(answers))))

    def answer(
        self, decided: tuple[list[LeaseAnswer], list[ChunkKey]], work: WorkingSet
    ) -> tuple[list[LeaseAnswer], list[ClaimedChunk]]:
        return decided[0], _claimed(decided[1], work)


class ClaimChunk(Command[ChunkKey, ClaimedChunk], MsgStruct, frozen=True):
    """Lease one named chunk; with the task_id that holds it, answers with the current lease."""

    owner: str
    job_id: str
    index: int
    by: rules.Claim
    uid: str = ""

    def _key(self) -> ChunkKey:
        return job_key(self.owner, self.job_id), self.index

    def needs(self) -> Needs:
        return Needs(jobs=(self._key()[0],), chunks=(self._key(),), starts=True)

    def decide(self, work: WorkingSet) -> ChunkKey:
        job = work.job(self.owner, self.job_id, self.uid)
        chunk = work.chunk(*self._key())
        if is_reserved(job.spec.kind):
            raise ChunkNotClaimable(self.job_id, self.index, chunk.state, "the service itself works on it")
        held = bool(self.by.task_id) and chunk.task_id == self.by.task_id
        if held and holds(lease_of(job, chunk), job, chunk, work.now):
            work.mark_claimed(self._key())
        elif work.is_paused(job):
            raise ChunkNotClaimable(self.job_id, self.index, chunk.state, f"its kind {job.spec.kind} is paused")
        else:
            work.apply(rules.claim(work.starting(job), chunk, self.by, work.now))
        return self._key()

    def answer(self, decided: ChunkKey, work: WorkingSet) -> ClaimedChunk:
        return _claimed([decided], work)[0]
