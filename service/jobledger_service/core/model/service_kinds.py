"""The kinds of the service's own jobs: visible and steerable like any, but created and worked by the service alone."""

from typing import Final

RESERVED: Final = "jobledger."
"""Kinds that begin so are the service's own."""

BULK: Final = "jobledger.bulk"
"""A run of one verb over many jobs."""
ARTIFACTS: Final = "jobledger.artifacts"
"""The deletion of what the artifacts of deleted jobs point at."""

SERVICE_KINDS: Final = (ARTIFACTS, BULK)


def is_reserved(kind: str) -> bool:
    """Whether a kind is the service's own."""
    return kind.startswith(RESERVED)
