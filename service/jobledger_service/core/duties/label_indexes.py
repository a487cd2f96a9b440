"""Brings the indexes of labels to what the settings name: built and cleared in steps, in turn with commands."""

from typing import Final

from jobledger_service.core.api.checks import LABEL, LABEL_FORM
from jobledger_service.core.database.label_indexes import LabelIndexStore
from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.filters.label_indexes import MAX_INDEXED_LABELS
from jobledger_service.settings import InvalidSettingError, Settings

JOBS_PER_STEP: Final = 250


def label_indexes(kernel: Kernel) -> Duty:
    """Return the duty. The names are those of the server that started last."""
    store, names, submit = LabelIndexStore(kernel.database), names_of(kernel.settings), kernel.committer.run_on_writer
    chosen = False

    async def once() -> bool:
        nonlocal chosen
        if not chosen:
            await submit(lambda: store.choose(names))
            chosen = True
        return await submit(lambda: store.step(JOBS_PER_STEP), JOBS_PER_STEP)

    return Duty("label indexes", once, kernel.settings.retention_interval)


def names_of(settings: Settings) -> list[str]:
    """Return the names of the labels to index. Raises InvalidSettingError."""
    names = [*dict.fromkeys(settings.indexed_labels.split())]
    if len(names) > MAX_INDEXED_LABELS:
        raise InvalidSettingError(f"--indexed-labels: {len(names)} names; at most {MAX_INDEXED_LABELS} are allowed")
    for name in names:
        if LABEL.fullmatch(name) is None:
            raise InvalidSettingError(f"--indexed-labels: value {name!r} must be {LABEL_FORM}")
    return names
