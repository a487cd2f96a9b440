"""What is wrong with a stream of positions, counted: the three ways in which a ledger's reader can be misled."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Faults:
    """How many positions are not there, are there again, and come after a later one."""

    missed: int = 0
    twice: int = 0
    misordered: int = 0


def faults(positions: Sequence[int], first: int, last: int) -> Faults:
    """Compare positions, in the order in which they were read, with all from `first` to `last`."""
    read = set(positions)
    return Faults(
        missed=len(set(range(first, last + 1)) - read),
        twice=len(positions) - len(read),
        misordered=sum(before > after for before, after in pairwise(positions)),
    )
