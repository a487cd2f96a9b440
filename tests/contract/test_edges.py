"""What can be stored can be shown: each number and time at its edges is refused, or shown in every way there is."""

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.longrunning.operations_pb2 import GetOperationRequest
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobledger.v1 import chunk_pb2, filter_pb2, job_pb2, stats_pb2
from jobledger.v1 import import_service_pb2 as imports
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1 import worker_service_pb2 as work
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.export_pb2 import ExportJobsRequest
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobledger_client.cli._main import run
from jobledger_service.core.model.bounds.limits import MAX_TIME, SECOND
from jobledger_service.core.model.job_progress import Rate
from jobledger_service.features.webhooks import fanout
from jobledger_service.features.webhooks.rules import WebhookEventType

from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.exports import CSV, JSON_LINES
from tests.support.server import Server

Strategy = st.SearchStrategy[Any]
DOUBLES = [0.0, -0.0, 5e-324, 0.1, 99.999, 100.001, 1e6, 1.1e6, 1e308, math.nan, math.inf, -math.inf, -1.0]
SECONDS = [-62135596801, -62135596800, -1, 0, 1, 253402300799, 253402300800, -(2**63), 2**63 - 1]
NANOS = [0, 1, 999_999_999, 1_000_000_000, -1, -(2**31)]
LONG_AGO, LATEST = Timestamp(seconds=0), Timestamp(seconds=253402300799, nanos=999_999_999)
STATES = [job_pb2.JobState.JOB_STATE_QUEUED, job_pb2.JobState.JOB_STATE_COMPLETED, job_pb2.JobState.JOB_STATE_FAILED]


def message(form: Callable[..., Any], **fields: Strategy) -> Strategy:
    """Return messages of a form with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: form(**chosen))


class Edges:
    """Requests at the edges of what is allowed, or, when they are wild, beyond them as well."""

    def __init__(self, *, wild: bool) -> None:
        self._wild = wild
        times, durations = self.times(LATEST, Timestamp(seconds=2_000_000_000)), self.durations()
        policy = message(
            chunk_pb2.RetryPolicy, max_attempts=self.ints(1, 100, 32), initial_backoff=durations,
            multiplier=self.floats(1, 10), jitter=self.floats(0, 1),
        )  # fmt: skip
        metadata = self.floats(-1e308, 1e308).map(lambda number: {"n": [number]})
        stages = st.lists(self.floats(5e-324, 1e6), min_size=1, max_size=2).map(
            lambda weights: [job_pb2.Stage(name=f"s{n}", weight=weight) for n, weight in enumerate(weights)]
        )
        self.artifacts = st.builds(
            chunk_pb2.Artifact, uri=st.just("s3://b/k"), size_bytes=self.ints(0, 2**53, 64), metadata=metadata
        ).map(lambda one: {"a": one})
        sized = {"item_count": self.ints(1, 10**9, 64), "chunk_size": self.ints(10**8, 10**9, 64)}
        chunks = self.ints(1, 10**9, 64).map(lambda count: [chunk_pb2.ChunkSpec(item_count=count)])
        described = {
            "priority": self.ints(0, 10, 32), "retry_policy": policy, "stages": stages, "expire_time": times,
            "input": metadata,
        }  # fmt: skip
        whole = st.fixed_dictionaries(sized, optional=described).map(lambda chosen: rpc.CreateJobRequest(**chosen))
        self.creates = whole | message(rpc.CreateJobRequest, chunks=chunks, **described)
        self.claims = message(work.ClaimChunksRequest, lease_duration=durations, max_chunks=self.ints(1, 1_000, 32))
        self.progress = message(
            work.ProgressReport, percent=self.floats(0, 100), stage_percent=self.floats(0, 100),
            items_completed=self.ints(0, 1, 64), artifacts=self.artifacts,
        )  # fmt: skip
        self.updates = message(rpc.UpdateJobRequest, priority=self.ints(0, 10, 32), expire_time=times)
        self.durations_of_lease = st.none() | durations
        span = st.builds(filter_pb2.TimeRange, start_time=self.times(LONG_AGO), end_time=self.times(LATEST))
        self.filters = message(
            filter_pb2.JobFilter, min_priority=self.ints(0, 5, 32), max_priority=self.ints(5, 10, 32),
            create_time=span, update_time=span, end_time=span,
        )  # fmt: skip
        self.ranges = st.builds(
            filter_pb2.TimeRange, start_time=self.times(LONG_AGO), end_time=self.times(Timestamp(seconds=253402297200))
        )
        self.imports = self._imports(metadata)

    def _imports(self, metadata: Strategy) -> Strategy:
        past, ended = self.times(LONG_AGO), self.times(Timestamp(seconds=1_700_000_000))
        ran = {"attempt": self.ints(1, 3, 32), "start_time": past, "end_time": ended}
        chunks = message(imports.ImportedChunk, index=self.ints(0, 0, 32), **ran).map(_completed)
        times = {"create_time": past, "start_time": past, "end_time": ended}
        rest = {"retry_count": self.ints(0, 10**6, 32), "artifacts": self.artifacts, "chunks": chunks}
        completed = st.fixed_dictionaries(
            {"state": st.just(job_pb2.JobState.JOB_STATE_COMPLETED), **times}, optional=rest
        )
        error = self.ints(0, 0, 32).map(lambda index: chunk_pb2.WorkError(code="X", chunk_index=index))
        failed = st.fixed_dictionaries(
            {"state": st.just(job_pb2.JobState.JOB_STATE_FAILED), "error": error, **times},
            optional={name: one for name, one in rest.items() if name != "chunks"},
        )
        described = message(rpc.CreateJobRequest, input=metadata, expire_time=self.times(LATEST))
        return st.builds(lambda chosen, job: imports.ImportedJob(job=job, **chosen), completed | failed, described)

    def _or_wild(self, allowed: Strategy, wild: Strategy) -> Strategy:
        return st.one_of(allowed, allowed, allowed, wild) if self._wild else allowed

    def ints(self, low: int, high: int, bits: int) -> Strategy:
        """Return integers: both ends of a range, and some within; beyond it, and both ends of the type."""
        beyond = [low - 1, high + 1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
        kept = [one for one in beyond if -(2 ** (bits - 1)) <= one < 2 ** (bits - 1)]
        return self._or_wild(st.sampled_from([low, high]) | st.integers(low, high), st.sampled_from(kept))

    def floats(self, low: float, high: float) -> Strategy:
        """Return numbers: both ends of a range, and some within; or any."""
        return self._or_wild(st.sampled_from([low, high]) | st.floats(low, high), st.sampled_from(DOUBLES))

    def times(self, *allowed: Timestamp) -> Strategy:
        """Return some of these times; or any, those that are none included."""
        wild = st.builds(Timestamp, seconds=st.sampled_from(SECONDS), nanos=st.sampled_from(NANOS))
        return self._or_wild(st.sampled_from(allowed), wild)

    def durations(self) -> Strategy:
        """Return durations from a second to a day; or any, those that are none included."""
        seconds = st.sampled_from([0, 86_401, 315576000001, -1, 2**63 - 1])
        wild = st.builds(Duration, seconds=seconds, nanos=st.sampled_from(NANOS))
        return self._or_wild(st.sampled_from([Duration(seconds=1), Duration(seconds=86_400)]), wild)


def _completed(one: imports.ImportedChunk) -> list[imports.ImportedChunk]:
    one.state = chunk_pb2.ChunkState.CHUNK_STATE_COMPLETED
    return [one]


ALLOWED, WILD = Edges(wild=False), Edges(wild=True)


Call = Callable[..., Any]


REFUSED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
"""By its values, or, when a job has ended, by its state."""


def taken(call: Call, request: Any) -> Any:
    """Return the answer, or None when the request was refused as invalid; any other end fails the test."""
    try:
        return call(request, timeout=BOUND)
    except grpc.RpcError as error:
        if error.code() not in REFUSED:
            raise AssertionError(f"{error.code()}: {error.details()} for {request}") from error
        return None


def strict(text: str) -> Any:
    """Return what JSON says, which is JSON to the letter."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def converted(shown: Message) -> None:
    """Hold that each time and each span of a message fits Python's own types."""
    for field, value in shown.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            ones = [one for one in value.values() if isinstance(one, Message)]
        else:
            ones = value if field.is_repeated else [value]
        for one in ones:
            if isinstance(one, Timestamp):
                one.ToDatetime()
            elif isinstance(one, Duration):
                one.ToTimedelta()
            else:
                converted(one)


class Caller:
    """A caller of one server, who does everything with a request and looks at what came of it in every way."""

    def __init__(self, server: Server, channel: grpc.Channel) -> None:
        self.target = server.target
        self.jobs, self.work = JobServiceStub(channel), WorkerServiceStub(channel)
        self.imports, self.operations = ImportServiceStub(channel), OperationsStub(channel)

    def show(self, job_id: str, kind: str) -> None:
        """Hold that a job can be shown everywhere."""
        wanted = filter_pb2.JobFilter(kinds=[kind])
        views = job_pb2.JobView.JOB_VIEW_STATUS, job_pb2.JobView.JOB_VIEW_BASIC, job_pb2.JobView.JOB_VIEW_FULL
        pages = [self.jobs.ListJobs(rpc.ListJobsRequest(filter=wanted, view=view)) for view in views]
        for page in pages:
            assert (len(page.jobs), len(page.unreadable_job_ids)) == (1, 0)
        events = [one for one in self.watched(job_id) if one.HasField("event")]
        for one in (
            *pages, *events, self.jobs.GetJob(rpc.GetJobRequest(job_id=job_id)),
            self.jobs.BatchGetJobs(rpc.BatchGetJobsRequest(job_ids=[job_id])),
            self.jobs.ListChunks(rpc.ListChunksRequest(job_id=job_id)),
            self.jobs.ListEvents(rpc.ListEventsRequest(job_id=job_id)),
            self.jobs.GetJobStats(stats_pb2.GetJobStatsRequest(kinds=[kind])),
            self.operations.GetOperation(GetOperationRequest(name=f"operations/{job_id}")),
        ):  # fmt: skip
            strict(MessageToJson(one))
            converted(one)
        self.show_events(events)
        self.show_exports(wanted)
        for words in (["get", job_id], ["get", job_id, "-o", "json"], ["list", "--kind", kind], ["chunks", job_id]):
            assert run([*words, "--target", self.target]) == 0

    def watched(self, job_id: str) -> Iterator[rpc.WatchJobResponse]:
        """Yield the first message of a watch, and a whole history of events as they are stored."""
        call = self.jobs.WatchJob(rpc.WatchJobRequest(job_id=job_id), timeout=BOUND)
        yield next(call)
        call.cancel()

    def show_events(self, events: list[rpc.WatchJobResponse]) -> None:
        for one in events:
            strict(fanout.body(WebhookEventType.JOB_CREATED, one, ()).decode())

    def show_exports(self, wanted: filter_pb2.JobFilter) -> None:
        for format_ in (CSV, JSON_LINES):
            got = list(self.jobs.ExportJobs(ExportJobsRequest(filter=wanted, format=format_), timeout=BOUND))
            assert (got[-1].row_count, got[-1].unreadable_row_count) == (1, 0)
            if format_ == JSON_LINES:
                [row] = map(strict, b"".join(one.data for one in got).decode().splitlines())
                assert row["export_error"] is None


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[Caller]:
    with grpc.insecure_channel(server.target) as channel:
        yield Caller(server, channel)


def lives(data: st.DataObject, caller: Caller, edges: Edges) -> None:
    """Bring a job to life with edges everywhere, and show what became of it."""
    kind, job_id = f"edge.{uuid4().hex}", uuid4().hex
    request: rpc.CreateJobRequest = data.draw(edges.creates)
    request.kind, request.job_id = kind, job_id
    created = taken(caller.jobs.CreateJob, request)
    if created is None:
        assert edges is WILD, "what is allowed was refused"
        return
    job = created.job
    claim = data.draw(edges.claims)
    claim.kinds.append(kind)
    claim.worker = "w"
    answer = taken(caller.work.ClaimChunks, claim)
    for claimed in answer.chunks[:2] if answer else ():
        token = claimed.lease.token
        report = work.LeaseReport(lease_token=token, progress=data.draw(edges.progress))
        lease = data.draw(edges.durations_of_lease)
        taken(caller.work.Heartbeat, work.HeartbeatRequest(reports=[report], lease_duration=lease))
        done = work.ChunkCompletion(lease_token=token, progress={"job_artifacts": data.draw(edges.artifacts)})
        taken(caller.work.CompleteChunks, work.CompleteChunksRequest(completions=[done]))
    update = data.draw(edges.updates)
    update.job_id = job_id
    update.update_mask.paths.extend(field.name for field, _ in update.ListFields() if field.name in UPDATABLE)
    if not is_about_to_go(job) and (updated := taken(caller.jobs.UpdateJob, update)) is not None:
        job = updated.job
    wanted = rpc.ListJobsRequest(filter=data.draw(edges.filters), page_size=data.draw(edges.ints(0, 500, 32)))
    taken(caller.jobs.ListJobs, wanted)
    stats = stats_pb2.GetJobStatsRequest(time_range=data.draw(edges.ranges))
    if (figures := taken(caller.jobs.GetJobStats, stats)) is not None:
        strict(MessageToJson(figures))
        converted(figures)
    if not is_about_to_go(job):
        caller.show(job_id, kind)


def is_about_to_go(job: job_pb2.Job | rpc.CreateJobRequest) -> bool:
    """Return whether a job has expired, so that the server deletes it at any moment."""
    return job.HasField("expire_time") and job.expire_time.seconds <= time.time()


UPDATABLE = ("priority", "expire_time")
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@pytest.mark.guarantee("3b.7")
@settings(max_examples=2, suppress_health_check=QUIET)
@given(st.data())
def test_what_is_allowed_at_the_edges_is_shown_everywhere(caller: Caller, data: st.DataObject):
    lives(data, caller, ALLOWED)


@pytest.mark.guarantee("3b.7")
@settings(max_examples=5, suppress_health_check=QUIET)
@given(st.data())
def test_every_edge_of_a_job_is_refused_or_shown_everywhere(caller: Caller, data: st.DataObject):
    lives(data, caller, WILD)


@pytest.mark.long
@settings(max_examples=300, suppress_health_check=QUIET)
@given(st.data(), st.sampled_from([ALLOWED, WILD]))
def test_many_edges_of_a_job_are_refused_or_shown_everywhere(caller: Caller, data: st.DataObject, edges: Edges):
    lives(data, caller, edges)


def moves(caller: Caller, one: imports.ImportedJob, edges: Edges) -> None:
    """Import a job with edges everywhere, and show it."""
    kind = f"edge.{uuid4().hex}"
    one.job.kind, one.job.job_id = kind, uuid4().hex
    answer = caller.imports.ImportJobs(iter([imports.ImportJobsRequest(jobs=[one])]), timeout=BOUND)
    assert edges is WILD or answer.imported, answer
    assert [
        refusal for refusal in answer.refusals if refusal.error.reason != ErrorReason.ERROR_REASON_INVALID_FIELD
    ] == []
    if answer.imported and not is_about_to_go(one.job):
        caller.show(one.job.job_id, kind)


@settings(max_examples=2, suppress_health_check=QUIET)
@given(ALLOWED.imports)
def test_an_import_that_is_allowed_at_the_edges_is_shown_everywhere(caller: Caller, one: imports.ImportedJob):
    moves(caller, one, ALLOWED)


@settings(max_examples=5, suppress_health_check=QUIET)
@given(WILD.imports)
def test_every_edge_of_an_import_is_refused_or_shown_everywhere(caller: Caller, one: imports.ImportedJob):
    moves(caller, one, WILD)


@pytest.mark.long
@settings(max_examples=300, suppress_health_check=QUIET)
@given(WILD.imports)
def test_many_edges_of_an_import_are_refused_or_shown_everywhere(caller: Caller, one: imports.ImportedJob):
    moves(caller, one, WILD)


@given(st.integers(0, 10**17), st.integers(0, 10**16), st.floats(0, 1e30), st.floats(0, 1e300), st.integers(0, 10**18))
def test_an_eta_is_a_time_that_can_be_shown_or_none(since: int, age: int, items: float, done: float, left: int):
    eta = Rate(since, since + age, items, done).end_of(left)
    assert eta is None or since <= eta <= MAX_TIME


async def test_an_eta_after_the_year_9999_is_absent(api: Api, kind: str):
    """10^12 items at one a second or so take 30,000 years."""
    job = await api.create(kind, chunks=[{"item_count": 10**9}] * 1_000)
    [claimed] = await api.claim(kind)
    first = claimed.lease.expire_time.ToMicroseconds()
    while (await api.report(claimed)).expire_time.ToMicroseconds() < first + 1.1 * SECOND:
        pass  # a rate is known of a run that is a second old
    await api.report(claimed, items_completed=1)
    progress = (await api.get(job.job_id)).progress
    assert progress.items_per_second > 0
    assert not progress.HasField("eta")
    status = rpc.GetJobRequest(job_id=job.job_id, view=job_pb2.JobView.JOB_VIEW_STATUS)
    assert not (await api.jobs.GetJob(status)).job.progress.HasField("eta")
