"""Deletes the files and objects of deleted jobs' artifacts, a few at a time, and records each outcome."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

from jobledger_service.core.api.convert import encoded_struct, struct_content
from jobledger_service.core.duties.service_jobs import LEASE
from jobledger_service.core.kernel import Kernel, Turn
from jobledger_service.core.ledger.commands import ClaimedChunk, StepLease, StepOutcome

from .commands import ArtifactsStep, FailedDeletion
from .objects import remove
from .roots import roots_of
from .rules import NotDeletedError

URIS_PER_STEP: Final = 20
THREADS: Final = 4


class ArtifactDeletions:
    """The work of the kind "jobledger.artifacts"."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._roots = roots_of(kernel.settings)
        self._threads = ThreadPoolExecutor(THREADS, "artifacts")

    async def close(self) -> None:
        """Start no further deletion."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def work(self, claimed: ClaimedChunk, _turn: Turn) -> None:
        """Delete the chunk's URIs that no earlier attempt has deleted: they are few, and no turn ends meanwhile."""
        kernel, uris = self._kernel, uris_of(claimed)
        run = await kernel.readers.for_server(kernel.store.read_run, claimed.job.key)
        cursor = run.cursors.get(claimed.chunk.index) if run else None
        left = list(range(len(uris)) if cursor is None else cast("tuple[int, ...]", cursor))
        failed: list[FailedDeletion] = []
        outcome = StepOutcome.GOING
        while outcome is StepOutcome.GOING:
            some, left = left[:URIS_PER_STEP], left[URIS_PER_STEP:]
            became = await asyncio.gather(*(self._delete(claimed, index, uris[index]) for index in some))
            failed += [one for one in became if isinstance(one, FailedDeletion)]
            step = ArtifactsStep(
                step_lease=StepLease(claimed.lease, cursor, LEASE, encoded_struct),
                deleted=became.count(True),
                missing=became.count(False),
                left=left,
                failed=tuple(failed),
                items=len(uris),
                jitter_sample=kernel.sample_jitter(),
            )
            outcome = await kernel.committer.submit(step)
            cursor = step.end

    async def _delete(self, claimed: ClaimedChunk, index: int, uri: str) -> bool | FailedDeletion:
        """Delete one URI under the roots of the job's owner; return whether it existed, or why it remains."""
        location = self._roots.locate(uri, claimed.job.spec.owner)
        if location is None:
            return FailedDeletion(
                index, uri, "it is not under this server's artifact_roots for its owner", may_pass=False
            )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, remove, location)
        except NotDeletedError as error:
            return FailedDeletion(index, uri, str(error), may_pass=error.may_pass)


def uris_of(claimed: ClaimedChunk) -> Sequence[str]:
    """Return the URIs that a chunk must delete; raises ValueError for an invalid input."""
    content = struct_content(claimed.inputs.chunks.get(claimed.chunk.index))
    if "uris" not in content:
        raise ValueError(f"chunk {claimed.chunk.index} of job {claimed.job.spec.job_id!r} names no URIs")
    return [str(uri) for uri in content["uris"]]
