"""The checker: compares what each watcher wrote down with the ledger, entry by entry."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self


class Seen(NamedTuple):
    """One message of a stream, or one entry of the ledger."""

    position: int
    revision: int
    job_id: str


@dataclass(frozen=True)
class Faults:
    """How many events a stream has missed, repeated, and delivered after a later one."""

    missed: int = 0
    repeated: int = 0
    misordered: int = 0

    def __add__(self, other: Self) -> "Faults":
        return Faults(self.missed + other.missed, self.repeated + other.repeated, self.misordered + other.misordered)


def stream_of(file: Path) -> list[Seen]:
    """Read what a watcher wrote down."""
    lines = (line.split() for line in file.read_text().splitlines())
    return [Seen(int(position), int(revision), job_id) for position, revision, job_id in lines]


def faults(stream: list[Seen], ledger: Iterable[Seen]) -> Faults:
    """Count what is wrong with a stream; positions rise over all jobs, revisions over each job's own."""
    expected, seen = set(ledger), set(stream)
    by_job: dict[str, list[Seen]] = {}
    for change in stream:
        by_job.setdefault(change.job_id, []).append(change)
    misordered = sum(before.position > after.position for before, after in pairwise(stream))
    misordered += sum(before.revision > after.revision for mine in by_job.values() for before, after in pairwise(mine))
    return Faults(len(expected - seen) + len(seen - expected), len(stream) - len(seen), misordered)
