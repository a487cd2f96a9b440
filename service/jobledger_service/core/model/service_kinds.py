"""The kinds of the service's own jobs: visible and cancellable like any, but only the service creates and runs them."""

from typing import Final

RESERVED: Final = "jobledger."
"""The prefix of the service's own kinds, and of labels that only its own jobs have."""

BULK: Final = "jobledger.bulk"
"""A bulk run: one verb over many jobs."""
ARTIFACTS: Final = "jobledger.artifacts"
"""The deletion of the files and objects of deleted jobs' artifacts."""

SERVICE_KINDS: Final = (ARTIFACTS, BULK)

ALL_KINDS: Final = ""
"""Stands for all kinds of an owner together in figures, the service's own too; no kind is empty."""

ALL_OWNERS: Final = ""
"""Stands for all owners together in counts; no owner is empty."""


def is_reserved(name: str) -> bool:
    """Whether a kind, or the name of a label, is the service's own."""
    return name.startswith(RESERVED)
