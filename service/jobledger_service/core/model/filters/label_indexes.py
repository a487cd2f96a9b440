"""Indexes of labels: which names have one, and how far it is built."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

MAX_INDEXED_LABELS: Final = 4

LabelIndexes = Mapping[str, int]
"""The number of the index of each name. A name that is indexed anew gets another number."""

NO_LABEL_INDEXES: Final[LabelIndexes] = MappingProxyType({})


class LabelIndexState(StrEnum):
    """The state of an index of a label."""

    BUILDING = "BUILDING"
    """Commits write it, and `jobledger-server migrate` adds older jobs."""
    READY = "READY"
    """It has all jobs, and lists walk it."""
    CLEARING = "CLEARING"
    """It is neither written nor read, and its rows are being deleted."""
