"""Deletes the files and objects of deleted jobs' artifacts, a few at a time, and records each outcome."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

from jobledger_service.core.ledger.commands import ClaimedChunk, StepLease, StepOutcome
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import EncodeStruct
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import ReadStore
from jobledger_service.core.ledger.service_jobs import LEASE

from .commands import ArtifactsStep, FailedDeletion
from .requests import ReadUris
from .rules import ArtifactLocation, NotDeletedError, Roots

URIS_PER_STEP: Final = 20
THREADS: Final = 4

RemoveArtifact = Callable[[ArtifactLocation], bool]
"""Deletes one file or object below a root, never a directory, and returns whether it existed; NotDeletedError."""


class ArtifactDeletions:
    """The work of the kind "jobledger.artifacts". `roll` draws from 0 to 1, for the wait before another attempt."""

    def __init__(
        self,
        store: ReadStore,
        queries: Queries,
        committer: Committer,
        read_uris: ReadUris,
        remove: RemoveArtifact,
        roots: Roots,
        encode: EncodeStruct,
        sample_jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._queries = queries
        self._committer = committer
        self._read_uris = read_uris
        self._remove = remove
        self._roots = roots
        self._encode = encode
        self._sample_jitter = sample_jitter
        self._threads = ThreadPoolExecutor(THREADS, "artifacts")

    async def close(self) -> None:
        """Start no further deletion."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def work(self, claimed: ClaimedChunk) -> None:
        """Delete the chunk's URIs that no earlier attempt has deleted."""
        uris = self._read_uris(claimed)
        run = await self._queries.run(self._store.read_run, claimed.job.key)
        cursor = run.cursors.get(claimed.chunk.index) if run else None
        left = list(range(len(uris)) if cursor is None else cast("tuple[int, ...]", cursor))
        failed: list[FailedDeletion] = []
        outcome = StepOutcome.GOING
        while outcome is StepOutcome.GOING:
            some, left = left[:URIS_PER_STEP], left[URIS_PER_STEP:]
            became = await asyncio.gather(*(self._delete(claimed, index, uris[index]) for index in some))
            failed += [one for one in became if isinstance(one, FailedDeletion)]
            step = ArtifactsStep(
                step_lease=StepLease(claimed.lease, cursor, LEASE, self._encode),
                deleted=became.count(True),
                missing=became.count(False),
                left=left,
                failed=tuple(failed),
                items=len(uris),
                jitter_sample=self._sample_jitter(),
            )
            outcome = await self._committer.submit(step)
            cursor = step.end

    async def _delete(self, claimed: ClaimedChunk, index: int, uri: str) -> bool | FailedDeletion:
        """Delete one URI under the roots of the job's owner; return whether it existed, or why it remains."""
        location = self._roots.locate(uri, claimed.job.spec.owner)
        if location is None:
            return FailedDeletion(
                index, uri, "it is not under this server's artifact_roots for its owner", may_pass=False
            )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._remove, location)
        except NotDeletedError as error:
            return FailedDeletion(index, uri, str(error), may_pass=error.may_pass)
