"""What batches cost: `python -m bench.batches` carries them out in a process, without a server.

CPU µs of the writer's thread for each command (of large batches for each chunk or job), the statements of a batch, and
the rows that these write. Statements and rows are exact; times are the tenth percentile and the median of many short
rounds. With `--beside DIR` the package of another tree, which has this module too, takes turns with this one: a
machine that is busy with something else is busy for both.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from jobledger.v1 import job_service_pb2 as api
from jobledger_service.core.api import job_requests as read
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.paused_kinds import PausedKindRows
from jobledger_service.core.database.rows.quotas import QuotaRows
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.bounds.quotas import Bounds
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.work import NO_RESULTS, Claim, WorkReport
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.batch import Executor
from jobledger_service.core.write.commands import (
    ClaimChunks,
    ClaimedChunk,
    Command,
    CompleteChunks,
    CreateJobs,
    Heartbeat,
)
from jobledger_service.core.write.core_families import core_families
from jobledger_service.core.write.writing import WriteStore
from jobledger_service.features.limits.family import Limits, PausedKinds
from jobledger_service.features.limits.store import LimitRows
from jobledger_service.features.quotas.family import Quotas
from jobledger_service.features.retention.family import ExpireTimes
from jobledger_service.features.retention.rules import Retention
from jobledger_service.features.statistics.family import Statistics
from jobledger_service.transport.identity import Caller
from sqlalchemy import Connection, event
from uuid_utils import uuid7

from . import jobs
from .databases import STORES, fresh
from .processes import ROOT, StartError
from .report import rows, run_benchmark

OWNER: Final = Caller("bench", "bench")
HOUR: Final = 3_600 * SECOND
WORKER: Final = Claim(jobs.WORKER, HOUR)
CASES: Final[dict[str, tuple[int, int]]] = {
    "CreateJob, 1 chunk": (40, 1),
    "CreateJob, 5 chunks": (40, 1),
    "CreateJob, 100 chunks": (5, 1),
    "BatchCreateJobs, 100 of 5": (2, 100),
    "ClaimChunks, 1": (40, 1),
    "Heartbeat, 1": (60, 1),
    "CompleteChunks, 1": (40, 1),
    "ClaimChunks, 4 of 50": (4, 200),
    "Heartbeat, 4 of 50": (4, 200),
    "CompleteChunks, 4 of 50": (4, 200),
}
"""Batches of a round, and the commands, jobs or chunks by which the time of one is divided."""
HEADS: Final = ("batch", "tree", "p10 µs", "p50 µs", "of the first", "statements", "rows")


class Ledger:
    """An executor over a database, with jobs to work on."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        families: list[Any] = [
            *core_families(dialect), partial(ExpireTimes, Retention()), partial(Limits, LimitRows(dialect)),
            partial(PausedKinds, PausedKindRows(dialect)), partial(Quotas, QuotaRows(dialect), Bounds()),
            partial(Statistics, dialect),
        ]  # fmt: skip
        reads = ReadStore(database)
        cursors = Cursors(reads.epoch.id, lambda: reads.history.terms)
        self._executor = Executor(WriteStore(database), ProtoCodec(), _now, cursors, families, quiet=0)
        self._database = database
        self._percent = 0.0
        self._held: list[list[ClaimedChunk]] = []

    def run(self, *commands: Command[Any, Any]) -> list[Any]:
        """Carry out commands in one batch."""
        outcomes, _ = self._executor.run(commands)
        if failed := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise RuntimeError(f"a command fails: {failed[0]!r}")
        return outcomes

    def batch(self, case: str) -> list[Command[Any, Any]]:
        """Return the commands of the next batch of a case."""
        verb, _, size = case.partition(", ")
        match verb:
            case "CreateJob":
                return [_new_job("bench.new", int(size.split()[0]))]
            case "BatchCreateJobs":
                template = jobs.stamped(jobs.new_jobs("bench.new", 5, 100))
                made = read.create_jobs(api.BatchCreateJobsRequest.FromString(template), OWNER, _new_id)
                return [CreateJobs([job for job in made if not isinstance(job, Exception)])]
        calls, chunks = (1, 1) if size == "1" else (4, 50)
        if verb == "ClaimChunks":
            return self._claims(calls, chunks)
        if verb == "CompleteChunks":
            held = self.run(*self._claims(calls, chunks))
            return [
                CompleteChunks("bench", [(chunk.lease, WorkReport(), NO_RESULTS) for chunk in claimed])
                for claimed in held
            ]
        self._held = self._held or self.run(*self._claims(4, 50))
        self._percent += 0.001
        progress = ProgressReport(percent=self._percent, stage="recognise", message=f"page {self._percent} done")
        report = WorkReport(progress=progress)
        held = [claimed[:chunks] for claimed in self._held[:calls]]
        return [
            Heartbeat("bench", [(chunk.lease, report) for chunk in claimed], lease_duration=HOUR) for claimed in held
        ]

    def _claims(self, calls: int, chunks: int) -> list[Command[Any, Any]]:
        kind = f"bench.{chunks}"
        self.run(*(_new_job(kind, chunks) for _ in range(calls)))
        return [ClaimChunks("bench", (kind,), chunks, WORKER) for _ in range(calls)]

    def round(self, case: str) -> list[float]:
        """Return what each batch of a round took, in µs."""
        batches, parts = CASES[case]
        took: list[float] = []
        for _ in range(batches):
            commands = self.batch(case)
            began = time.thread_time_ns()
            self.run(*commands)
            took.append((time.thread_time_ns() - began) / 1_000 / parts)
        return took

    def counts(self, case: str) -> tuple[int, int]:
        """Return the statements of one batch, and the rows that they write."""
        written: list[int] = []

        def count(_connection: Connection, cursor: Any, statement: str, *_: object) -> None:  # noqa: ANN401  the driver's
            writes = statement.startswith(("INSERT", "UPDATE", "DELETE"))
            written.append(max(cursor.rowcount, 0) if writes else 0)

        commands = self.batch(case)
        event.listen(self._database.writer, "after_cursor_execute", count)
        self.run(*commands)
        event.remove(self._database.writer, "after_cursor_execute", count)
        return len(written), sum(written)


def _now() -> Micros:
    return Micros(time.time_ns() // 1_000)


def _new_id() -> str:
    return str(uuid7())


def _new_job(kind: str, chunks: int) -> Command[Any, Any]:
    request = api.CreateJobRequest.FromString(jobs.stamped(jobs.new_job(kind, chunks)))
    return read.create_job(request, OWNER, _new_id)


def serve(store: str) -> None:
    """Answer a round of each case that is named on standard input, or, behind a `#`, what one of its batches counts."""
    with (
        TemporaryDirectory() as folder,
        fresh(store, Path(folder)) as url,
        closing(open_database(url)) as database,
    ):
        upgrade(database)
        ledger = Ledger(database)
        for line in map(str.strip, sys.stdin):
            print(json.dumps(ledger.counts(line[1:]) if line[0] == "#" else ledger.round(line)), flush=True)


class Tree:
    """The package of one tree in a process of its own."""

    def __init__(self, root: Path, store: str, stack: ExitStack) -> None:
        path = os.pathsep.join(f"{root / part}" for part in ("service", "protos", "."))
        command = [sys.executable, "-m", "bench.batches", "--serve", "--store", store]
        self.name = root.name
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def ask(self, line: str) -> Any:  # noqa: ANN401  a JSON document
        """Return the answer to a line; raises StartError when the process has ended."""
        assert self._process.stdin is not None  # noqa: S101  for the types
        assert self._process.stdout is not None  # noqa: S101  for the types
        print(line, file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise StartError(f"{self.name} does not answer")
        return json.loads(answer)


def measure(store: str, rounds: int, roots: list[Path]) -> str:
    """Return the table."""
    table: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        trees = [Tree(root, store, stack) for root in roots]
        for case in CASES:
            took: dict[Tree, list[float]] = {tree: [] for tree in trees}
            for number in range(rounds + 1):
                for tree in trees[:: -1 if number % 2 else 1]:
                    answer = tree.ask(case)
                    took[tree] += answer if number else []  # the first one warms up
            ordered = [sorted(seconds) for seconds in took.values()]
            for tree, seconds in zip(trees, ordered, strict=True):
                low, middle, first = (
                    seconds[len(seconds) // 10],
                    seconds[len(seconds) // 2],
                    ordered[0][len(ordered[0]) // 10],
                )
                counted = (f"{count}" for count in tree.ask(f"#{case}"))
                table.append((case, tree.name, f"{low:,.1f}", f"{middle:,.1f}", f"{low / first:.2f}", *counted))
    return rows(HEADS, table)


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--beside", type=Path, action="append", default=[], metavar="DIR", help="another tree")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.store)
        return 0
    roots = [*(directory.resolve() for directory in options.beside), ROOT]
    return run_benchmark("bench.batches", lambda: measure(options.store, options.rounds, roots))


if __name__ == "__main__":
    sys.exit(main())
