"""Reads over many jobs: `python -m bench.reads --jobs 1000000` measures each at 10,000 jobs and at a million.

Both databases are of `bench.seed`, and are kept for the next run. The two sizes take turns, so that what the machine
does meanwhile falls on both.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.filter_pb2 import TimeRange
from jobledger.v1.job_pb2 import Job, JobState, JobView
from jobledger.v1.job_service_pb2 import (
    BatchGetJobsRequest,
    GetJobRequest,
    JobOrder,
    ListChunksRequest,
    ListJobsRequest,
)
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.stats_pb2 import GetJobStatsRequest

from .databases import STORES, kept
from .processes import ROOT, SERVER, jobledger
from .report import rows, run_benchmark

FOLDER: Final = ROOT / "bench" / "seeded"
DEEP: Final = 10_000
"""The page that counts as deep, of 20 jobs each; in a smaller database the middle one."""
DAY: Final = 86_400
INDEXED: Final = ("customer", "team")
"""The labels whose values are walked as an index."""
HEADS: Final = ("read", "at {small:,}, ms", "at {large:,}, ms", "ratio")

Read = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """Calls one server."""

    service: Any

    def listing(self, **fields: Any) -> Read:  # noqa: ANN401  fields of the request
        """Return a call for 20 jobs."""
        return lambda: self.service.ListJobs(ListJobsRequest(**fields))

    def place(self, jobs: int, **fields: Any) -> str:  # noqa: ANN401  fields of the request
        """Return the token of the page after so many jobs, or as far as there are."""
        token, remaining = "", jobs
        while remaining > 0:
            page = self.service.ListJobs(ListJobsRequest(page_size=min(remaining, 500), page_token=token, **fields))
            if not page.next_page_token:
                break
            token, remaining = page.next_page_token, remaining - len(page.jobs)
        return token

    @staticmethod
    def rare(jobs: Sequence[Job]) -> str:
        """Return the number in a job's name, which no other has."""
        return jobs[250].display_name.partition("part_")[2].partition(".")[0]

    def reads(self, deep: int) -> dict[str, Read]:
        """Return what is measured, by name."""
        newest = self.service.ListJobs(ListJobsRequest(page_size=500)).jobs
        ids = [job.job_id for job in newest]
        end = newest[0].create_time.seconds
        month = {"create_time": {"start_time": Timestamp(seconds=end - 30 * DAY), "end_time": Timestamp(seconds=end)}}
        completed = {"filter": {"states": [JobState.JOB_STATE_COMPLETED]}}
        orders: dict[str, dict[str, Any]] = {
            "all, newest first": {},
            "all, by priority": {"order": JobOrder.JOB_ORDER_PRIORITY_DESC},
            "all, by update": {"order": JobOrder.JOB_ORDER_UPDATE_TIME_DESC},
            "COMPLETED, newest first": completed,
            "COMPLETED, by end": {**completed, "order": JobOrder.JOB_ORDER_END_TIME_DESC},
            "one kind, newest first": {"filter": {"kinds": ["ocr.pages"]}},
            **{
                f"an indexed label, {name}": {"filter": {"labels": {"team": "documents"}}, "order": order}
                for name, order in (
                    ("newest first", JobOrder.JOB_ORDER_CREATE_TIME_DESC),
                    ("by end", JobOrder.JOB_ORDER_END_TIME_DESC),
                    ("by priority", JobOrder.JOB_ORDER_PRIORITY_DESC),
                )
            },
        }
        reads = {f"ListJobs {name}": self.listing(**fields) for name, fields in orders.items()}
        for name, fields in orders.items():
            reads[f"  page {DEEP:,} of it: {name}"] = self.listing(page_token=self.place(deep, **fields), **fields)
        filters: dict[str, dict[str, Any]] = {
            "of 30 days, priority 7 to 10": {**month, "min_priority": 7},
            "two labels, one indexed": {"labels": {"team": "legal", "env": "production"}},
            "an indexed label of few": {"labels": {"customer": "c4999"}},
            "an indexed label of many, FAILED": {
                "labels": {"team": "documents"}, "states": [JobState.JOB_STATE_FAILED]
            },
            "search: two common words": {"search": "lect mp4"},
            "search: a common word": {"search": "holiday"},
            "search: a rare word beside a common one": {"search": f"part_{self.rare(newest)}"},
            "search: a rare word": {"search": self.rare(newest)},
            "search: a job_id": {"search": ids[250]},
            "search: nothing": {"search": "nowhere"},
        }  # fmt: skip
        reads |= {f"ListJobs {name}": self.listing(filter=fields) for name, fields in filters.items()}
        span = TimeRange(start_time=Timestamp(seconds=end - 30 * DAY), end_time=Timestamp(seconds=end))
        return reads | {
            "GetJob": lambda: self.service.GetJob(GetJobRequest(job_id=ids[250], view=JobView.JOB_VIEW_FULL)),
            "BatchGetJobs, 100 in view STATUS": lambda: self.service.BatchGetJobs(
                BatchGetJobsRequest(job_ids=ids[:100], view=JobView.JOB_VIEW_STATUS)
            ),
            "ListChunks": lambda: self.service.ListChunks(ListChunksRequest(job_id=ids[250])),
            "GetJobStats, all time": lambda: self.service.GetJobStats(GetJobStatsRequest()),
            "GetJobStats, 30 days": lambda: self.service.GetJobStats(GetJobStatsRequest(time_range=span)),
        }


def measured(reads: Sequence[Read], rounds: int) -> list[float]:
    """Return the median of each in milliseconds, measured in turn."""
    times: list[list[float]] = [[] for _ in reads]
    for _ in range(rounds):
        for read, taken in zip(reads, times, strict=True):
            began = time.perf_counter()
            read()
            taken.append((time.perf_counter() - began) * 1_000)
    return [statistics.median(taken) for taken in times]


def seeded(store: str, jobs: int, stack: ExitStack) -> str:
    """Return the URL of a database with so many jobs, made when there is none yet."""
    folder = FOLDER / f"{store}-{jobs}"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
    folder.mkdir(parents=True, exist_ok=True)
    url = stack.enter_context(kept(store, folder))
    if not done.exists():
        subprocess.run(
            [sys.executable, "-m", "bench.seed", "--jobs", str(jobs), "--database", url], check=True, cwd=ROOT
        )
        done.touch()
    return url


@contextmanager
def reader(url: str, stack: ExitStack) -> Iterator[Reader]:
    """Serve a database, and yield what calls it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobledger-bench-")))
    subprocess.run([SERVER, "migrate", "--database", url, "--indexed-labels", " ".join(INDEXED)], check=True)
    with jobledger(folder, url) as served, grpc.insecure_channel(served.address) as channel:
        yield Reader(JobServiceStub(channel))


def compared(store: str, sizes: tuple[int, int], rounds: int) -> str:
    """Measure every read on databases of both sizes, and return the table."""
    with ExitStack() as stack:
        readers = [stack.enter_context(reader(seeded(store, jobs, stack), stack)) for jobs in sizes]
        print(f"bench.reads: walking to page {DEEP:,}", file=sys.stderr)
        both = [reader.reads(min(DEEP * 20, jobs // 4)) for reader, jobs in zip(readers, sizes, strict=True)]
        lines: list[tuple[str, ...]] = []
        for name in both[0]:
            small, large = measured([reads[name] for reads in both], rounds)
            lines.append((name, f"{small:.1f}", f"{large:.1f}", f"{large / small:.2f}"))
            print(f"  {name}: {small:.1f} and {large:.1f} ms", file=sys.stderr)
    small_jobs, large_jobs = sizes
    return rows(tuple(head.format(small=small_jobs, large=large_jobs) for head in HEADS), lines)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.reads", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N", help="the large one (default: 100000)")
    parser.add_argument("--small", type=int, default=10_000, metavar="N", help="the small one (default: 10000)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what they are on (default: sqlite)")
    parser.add_argument("--rounds", type=int, default=21, help="calls of every read (default: 21)")
    options = parser.parse_args()
    return run_benchmark("bench.reads", lambda: compared(options.store, (options.small, options.jobs), options.rounds))


if __name__ == "__main__":
    sys.exit(main())
