"""Response times against targets: `python -m bench.response_times` asks what the console of a video service asks.

The database is of `bench.seed`, and is kept for the next run. Where there is something to choose, such as a job, a day
or a word, each call of a kind chooses another.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.filter_pb2 import JobFilter, TimeRange
from jobledger.v1.job_pb2 import Job, JobState, JobView
from jobledger.v1.job_service_pb2 import (
    CancelJobRequest,
    CreateJobRequest,
    DeleteJobRequest,
    GetJobRequest,
    JobOrder,
    ListJobsRequest,
)
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.stats_pb2 import GetJobStatsRequest
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest

from .databases import STORES
from .processes import jobledger
from .reads import DAY, seeded
from .report import rows, run_benchmark
from .targets import percentiles

PAGE: Final = 100
DAYS: Final = 85
"""Days of which jobs are known, before the newest job: the seed's are of 90."""
CALLERS: Final = (1, 8)
"""How many ask at a time."""
PERCENTILES: Final = ("p50", "p95", "p99")
HEADS: Final = ("call", "target", *(head for n in CALLERS for head in (*PERCENTILES, f"of {n} within")))

Call = Callable[[int], Any]
"""Makes call number N of its kind."""


@dataclass(frozen=True, slots=True)
class Console:
    """What asks: it knows some jobs of each day, and has jobs of its own to cancel and delete."""

    jobs: Any
    admin: Any
    known: Sequence[Job]
    cancellable: Sequence[str]

    @classmethod
    def of(cls, channel: grpc.Channel, count: int) -> "Console":
        """Find ten jobs of each day, and make so many of its own."""
        jobs = JobServiceStub(channel)
        end = jobs.ListJobs(ListJobsRequest(page_size=1)).jobs[0].create_time.seconds
        known: list[Job] = []
        for day in range(DAYS):
            created = JobFilter(create_time=span(end - day * DAY, 1))
            known += jobs.ListJobs(ListJobsRequest(filter=created, page_size=10)).jobs
        made = (jobs.CreateJob(CreateJobRequest(kind="bench.own", item_count=2_500)).job.job_id for _ in range(count))
        return cls(jobs, AdminServiceStub(channel), known, list(made))

    def job(self, n: int) -> Job:
        """Return a known job, the next call's of another day."""
        return self.known[n * 11 % len(self.known)]

    def get(self, view: "JobView.ValueType") -> Call:
        """Return a call for one job."""
        return lambda n: self.jobs.GetJob(GetJobRequest(job_id=self.job(n).job_id, view=view))

    def page(self, order: "JobOrder.ValueType" = JobOrder.JOB_ORDER_CREATE_TIME_DESC, **conditions: Any) -> Call:  # noqa: ANN401  fields of a filter
        """Return a call for a page of a list; a condition may be a function of the known job of a call."""

        def call(n: int) -> Any:  # noqa: ANN401  a reply
            fields = {name: value(self.job(n)) if callable(value) else value for name, value in conditions.items()}
            return self.jobs.ListJobs(ListJobsRequest(filter=JobFilter(**fields), order=order, page_size=PAGE))

        return call

    def statistics(self, days: int) -> Call:
        """Return a call for statistics of so many days up to the day of a known job."""
        return lambda n: self.jobs.GetJobStats(
            GetJobStatsRequest(time_range=span(self.job(n).create_time.seconds, days))
        )

    def calls(self) -> dict[str, tuple[int, Call]]:
        """Return what is measured, by name, with its target in milliseconds; the last ones end and delete jobs."""
        completed, failed = [JobState.JOB_STATE_COMPLETED], [JobState.JOB_STATE_FAILED]
        return {
            "GetJob, view STATUS": (50, self.get(JobView.JOB_VIEW_STATUS)),
            "GetJob, view FULL": (50, self.get(JobView.JOB_VIEW_FULL)),
            "ListJobs, newest": (100, self.page()),
            "ListJobs, COMPLETED by end": (100, self.page(JobOrder.JOB_ORDER_END_TIME_DESC, states=completed)),
            "ListJobs, by priority": (100, self.page(JobOrder.JOB_ORDER_PRIORITY_DESC)),
            "ListJobs, FAILED of a kind": (100, self.page(states=failed, kinds=["transcode.video"])),
            "ListJobs, a week, priority 7 to 10": (100, self.page(create_time=week, min_priority=7)),
            "search, a file name": (200, self.page(search=file_name)),
            "search, two words": (200, self.page(search=lambda job: f"{job.display_name.split()[0]} mp4")),
            "GetJobStats, 30 days": (200, self.statistics(30)),
            "GetJobStats, all time": (200, lambda _: self.jobs.GetJobStats(GetJobStatsRequest(time_range=TimeRange()))),
            "GetSystemHealth": (10, lambda _: self.admin.GetSystemHealth(GetSystemHealthRequest())),
            "CancelJob": (100, lambda n: self.jobs.CancelJob(CancelJobRequest(job_id=self.cancellable[n]))),
            "DeleteJob": (500, lambda n: self.jobs.DeleteJob(DeleteJobRequest(job_id=self.cancellable[n]))),
        }


def span(end: int, days: int) -> TimeRange:
    """Return so many days before a time in seconds."""
    return TimeRange(start_time=Timestamp(seconds=end - days * DAY), end_time=Timestamp(seconds=end))


def week(job: Job) -> TimeRange:
    """Return the week before a job."""
    return span(job.create_time.seconds, 7)


def file_name(job: Job) -> str:
    """Return the file that a job's name ends with."""
    return job.display_name.rpartition(" ")[2]


def timed(call: Call, numbers: Sequence[int], callers: int) -> dict[str, float]:
    """Make each call, so many at a time, and return the percentiles of what they took in milliseconds."""

    def one(n: int) -> float:
        began = time.perf_counter()
        call(n)
        return time.perf_counter() - began

    with ThreadPoolExecutor(callers) as pool:
        return percentiles(list(pool.map(one, numbers)))


def line(name: str, target: int, call: Call, calls: int) -> tuple[str, ...]:
    """Measure one call, by one caller and by several."""
    print(f"bench.response_times: {name}", file=sys.stderr)
    cells: list[str] = []
    for place, callers in enumerate(CALLERS):
        took = timed(call, range(place * calls, (place + 1) * calls), callers)
        cells += [*(f"{took[p]:.1f}" for p in PERCENTILES), "yes" if took["p99"] <= target else "NO"]
    return (name, f"{target}", *cells)


def measure(store: str, jobs: int, calls: int) -> str:
    """Measure every call on a database of so many jobs, and return the table."""
    with ExitStack() as stack:
        url = seeded(store, jobs, stack)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="jobledger-bench-")))
        served = stack.enter_context(jobledger(folder, url))
        channel = stack.enter_context(grpc.insecure_channel(served.address))
        console = Console.of(channel, calls * len(CALLERS))
        return rows(HEADS, [line(name, *asked, calls) for name, asked in console.calls().items()])


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.response_times", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N", help="how many there are (default: 100000)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what they are on (default: sqlite)")
    parser.add_argument("--calls", type=int, default=300, metavar="N", help="calls of each kind (default: 300)")
    options = parser.parse_args()
    return run_benchmark("bench.response_times", lambda: measure(options.store, options.jobs, options.calls))


if __name__ == "__main__":
    sys.exit(main())
