"""The chunks of one job as a batch sees them: loaded ones from memory, the others by one statement."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from jobledger_service.core.model.chunk import Chunk, WorkError
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.model.sweep import Totals, totals_of

from .writing import Transaction


class StoredChunks:
    """Answers questions of decisions about all chunks of a job.

    `ask` returns the transaction when the store has chunks that are not loaded, else None.
    """

    def __init__(self, job_key: str, loaded: Mapping[int, Chunk], ask: Callable[[], Transaction | None]) -> None:
        self._key: Final = job_key
        self._loaded = loaded
        self._ask = ask

    def totals(self, now: Micros, excluded: int | None = None) -> Totals:
        in_work = [c for c in self._loaded.values() if c.state is ChunkState.PROCESSING and c.index != excluded]
        here = totals_of(in_work, now)
        store = self._ask()
        return here if store is None else _sum(here, store.totals(self._key, self._excluded(excluded), now))

    def states(self, indexes: Collection[int]) -> Mapping[int, ChunkState]:
        here = {index: self._loaded[index].state for index in indexes if index in self._loaded}
        not_loaded = [index for index in indexes if index not in here]
        store = self._ask() if not_loaded else None
        return here if store is None else {**store.chunk_states(self._key, not_loaded), **here}

    def first_error(self, excluded: Collection[int]) -> WorkError | None:
        passed = set(excluded)
        here = [c for c in self._loaded.values() if c.state is ChunkState.FAILED and c.index not in passed]
        errors = [(c.index, c.error) for c in here]
        if (store := self._ask()) is not None and (
            stored_error := store.first_error(self._key, passed | {*self._loaded})
        ):
            errors.append(stored_error)
        return min(errors, key=lambda pair: pair[0])[1] if errors else None

    def _excluded(self, excluded: int | None) -> list[int]:
        return [*self._loaded, *([] if excluded is None else [excluded])]


def _sum(first: Totals, second: Totals) -> Totals:
    stages = {*first.stage_times, *second.stage_times}
    times = {stage: first.stage_times.get(stage, 0) + second.stage_times.get(stage, 0) for stage in stages}
    return Totals(first.work_done + second.work_done, first.items_done + second.items_done, times)
