"""Deletes the files and objects of deleted jobs' artifacts, a few at a time, and records each outcome."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from jobledger_service.core.api.convert import encoded_struct
from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.duties.service_jobs import LEASE
from jobledger_service.core.kernel import Kernel, Turn
from jobledger_service.core.write.commands import ClaimedChunk, StepLease, StepOutcome

from .commands import ArtifactsStep
from .family import deleted_job_of
from .objects import remove
from .roots import roots_of
from .rules import NotDeletedError
from .store import DeletedArtifacts
from .walk import FailedDeletion, Place, Walk

URIS_PER_STEP: Final = 20
THREADS: Final = 4
MAX_UNFINISHED_PERCENT: Final = 99.9


class ArtifactDeletions:
    """The work of the kind "jobledger.artifacts"."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._store = DeletedArtifacts(kernel.database)
        self._roots = roots_of(kernel.settings)
        self._threads = ThreadPoolExecutor(THREADS, "artifacts")

    async def close(self) -> None:
        """Start no further deletion."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def work(self, claimed: ClaimedChunk, turn: Turn) -> None:
        """Delete what the artifacts of a deleted job point at, from where the last attempt ended, until its turn ends.

        Artifacts whose deletion failed before are tried first.
        """
        kernel, job = self._kernel, deleted_job_of(claimed)
        run = await kernel.readers.for_server(kernel.store.read_run, claimed.job.key)
        cursor = run.cursors.get(claimed.chunk.index) if run else None
        walk, outcome = Walk.begin(cursor, job.chunk_count), StepOutcome.GOING
        while outcome is StepOutcome.GOING:
            again, place = walk.again[URIS_PER_STEP:], walk.place
            if walk.again:
                listed = await kernel.readers.for_server(self._store.named, job, walk.again[:URIS_PER_STEP])
            else:
                listed, place = await kernel.readers.for_server(self._store.listed, job, place, URIS_PER_STEP)
            outcomes = await asyncio.gather(*(self._delete(claimed, *artifact) for artifact in listed))
            walk = walk.after(place, again, [result for result in outcomes if isinstance(result, FailedDeletion)])
            step = ArtifactsStep(
                step_lease=StepLease(claimed.lease, cursor, LEASE, encoded_struct),
                deleted=outcomes.count(True),
                missing=outcomes.count(False),
                kept=outcomes.count(None),
                walk=walk,
                percent=min(MAX_UNFINISHED_PERCENT, 100 * (place[0] + 1) / (job.chunk_count + 1)),
                last=walk.is_stopped or (not again and place[0] >= job.chunk_count),
                jitter_sample=kernel.sample_jitter(),
            )
            outcome = await kernel.committer.submit(step)
            cursor = walk.cursor
            if turn.is_over:
                return

    async def _delete(self, claimed: ClaimedChunk, place: Place, uri: str | None) -> bool | FailedDeletion | None:
        """Delete one URI under the roots of the job's owner; return whether it existed, or why it remains.

        None when it stays because it is under no root.
        """
        if uri is None:
            where = "the job" if place[0] == JOB_ITSELF else f"chunk {place[0]}"
            return FailedDeletion(place, "", f"the artifacts of {where} cannot be read", may_pass=False)
        location = self._roots.locate(uri, claimed.job.spec.owner)
        if location is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, remove, location)
        except NotDeletedError as error:
            return FailedDeletion(place, uri, str(error), may_pass=error.may_pass)
