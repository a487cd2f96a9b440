"""Drives the public interface as two owners by Hypothesis' rules, and compares it with the model after each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from jobledger.v1 import job_service_pb2 as jobs_pb
from jobledger.v1 import worker_service_pb2 as work_pb
from jobledger.v1.job_pb2 import FailurePolicy, JobState, JobView
from jobledger.v1.stats_pb2 import GetJobStatsRequest

from tests.fuzz.callers import Owner, ending
from tests.fuzz.comparing import OUTCOMES, STATES, assert_same
from tests.fuzz.ledger_model import Chunk, Job, Lease, Ledger, Refused
from tests.support.api import fresh_kind
from tests.support.errors import read
from tests.support.states import (
    CHUNK_PENDING,
    CHUNK_PROCESSING,
)
from tests.support.watching import DELETED

OWNERS = ("alice", "bob")
FLEET = "fleet"
"""The caller whose key serves the owners, and nothing else of them."""
HOUR = {"seconds": 3_600}
owners = st.sampled_from(OWNERS)
numbers = st.integers(0, 1_000)
"""Which of the jobs or leases there are, counted round and round."""
demands = st.sampled_from(["", "what it has", "an etag that it had", "another uid"])


class LedgerMachine(RuleBasedStateMachine):
    """Two owners, who use the same kinds and know each other's ids and tokens."""

    def __init__(self, callers: dict[str, Owner]) -> None:
        super().__init__()
        self.callers = callers
        self.ledger = Ledger()
        self.tokens: dict[Lease, str] = {}
        self.requests: list[tuple[str, jobs_pb.CreateJobRequest]] = []

    @initialize()
    def begin(self) -> None:
        """Begin with kinds that nobody has used, and at a place that all watches can begin from."""
        self.kinds = [fresh_kind(), fresh_kind()]
        self.cursors = {owner: self._page(owner).cursor for owner in OWNERS}

    def _call(self, owner: str, method: str, request: Any) -> Any:
        caller = self.callers[owner]
        return caller(getattr(caller.work if hasattr(caller.work, method) else caller.jobs, method), request)

    @contextmanager
    def _as_expected(self, decide: Callable[[], Any]) -> Iterator[Any]:
        """Decide over a call by the model; the block makes it, and must be refused as the model refuses."""
        try:
            expected = decide()
        except Refused as refusal:
            try:
                yield None
            except grpc.RpcError as error:
                if read(error).reason == str(refusal):
                    return
                raise
            raise AssertionError(f"the call was accepted, and should have been refused: {refusal}") from None
        yield expected

    def _job(self, number: int) -> Job:
        known = [*self.ledger.jobs.values(), *self.ledger.gone[-2:]]
        return known[number % len(known)]

    def _demanded(self, owner: str, job_id: str, how: str) -> dict[str, str]:
        """Return what a call demands of a job: nothing, what it has, an etag that it had, or an earlier job's uid."""
        job = self.ledger.jobs.get((owner, job_id))
        if how == "another uid":
            others = (one for one in (*self.ledger.gone, *self.ledger.jobs.values()) if one is not job)
            return {"uid": next((one.uid for one in others if one.job_id == job_id), "")}
        if job is None or not how:
            return {}
        return {"uid": job.uid, "etag": job.etag} if how == "what it has" else {"etag": min(job.etags)}

    def _leases(self, chosen: Sequence[int]) -> list[Lease]:
        known = list(self.tokens)[-12:]
        return list(dict.fromkeys(known[number % len(known)] for number in chosen))

    @rule(
        owner=owners,
        kind=st.integers(0, 1),
        items=st.none() | st.integers(1, 9),
        size=st.integers(1, 3),
        priority=st.sampled_from([0, 5, 10]),
        attempts=st.integers(1, 3),
        fail_fast=st.booleans(),
        limited=st.booleans(),
        later=st.sampled_from([False, False, False, True]),
        weight=st.none() | st.sampled_from([0.5, 1, 3]),
        again=st.booleans(),
    )
    def create(
        self,
        owner: str,
        kind: int,
        items: int | None,
        size: int,
        priority: int,
        attempts: int,
        fail_fast: bool,
        limited: bool,
        later: bool,
        weight: float | None,
        again: bool,
    ) -> None:
        """Create a job, perhaps with limits that it does not reach, or with a time to begin at that does not come.

        It is now and then under the id of one that was deleted, or that the other owner has.
        """
        job_id = f"{self.kinds[0]}-{len(self.requests)}"
        free = [job.job_id for job in (*self.ledger.gone, *self.ledger.jobs.values())]
        if again and free and (owner, free[-1]) not in self.ledger.jobs:
            job_id = free[-1]
        request = jobs_pb.CreateJobRequest(
            job_id=job_id,
            kind=self.kinds[kind],
            priority=priority,
            retry_policy={"max_attempts": attempts, "initial_backoff": {}, "jitter": 0},
            failure_policy=FailurePolicy.FAILURE_POLICY_FAIL_FAST
            if fail_fast
            else FailurePolicy.FAILURE_POLICY_RUN_ALL,
            run_timeout=HOUR if limited else None,
            attempt_timeout=HOUR if limited else None,
            labels={"a": "x"} if limited else {},
            limited_labels=["a"] if limited else [],
            schedule_time=(begins_at := datetime.now(UTC) + timedelta(hours=1) if later else None),
        )
        sizes = [0]
        if items is not None:
            request.item_count, request.chunk_size = items, size
            sizes = [min(size, items - first) for first in range(0, items, size)]
        chunks = [Chunk(index, count, attempts, count or 1) for index, count in enumerate(sizes)]
        if items is not None and weight is not None:
            request.finalizer.weight = weight
            chunks.append(Chunk(len(chunks), 0, attempts, weight * items / len(sizes)))
        output = self._call(owner, "CreateJob", request)
        assert output.created
        assert output.job.run_timeout == output.job.attempt_timeout == request.run_timeout
        job = Job(
            owner, job_id, self.kinds[kind], 0, chunks, priority, attempts, fail_fast, request.HasField("finalizer")
        )
        job.labels, job.begins_at, job.uid = dict(request.labels), begins_at, output.job.uid
        self.ledger.create(job)
        self.requests.append((owner, request))

    @precondition(lambda self: self.requests)
    @rule(number=numbers)
    def create_again(self, number: int) -> None:
        """Send a request again: the job that it made is there, whatever became of it."""
        owner, request = self.requests[number % len(self.requests)]
        newest = [one for who, one in self.requests if (who, one.job_id) == (owner, request.job_id)][-1]
        if (owner, request.job_id) in self.ledger.jobs and newest is request:
            assert not self._call(owner, "CreateJob", request).created

    @precondition(lambda self: self.requests)
    @rule(
        owner=owners,
        kinds=st.sampled_from([[0], [1], [0, 1], [1, 0]]),
        limit=st.integers(1, 4),
        number=st.none() | st.integers(0, 2),
        fleet=st.booleans(),
    )
    def claim(self, owner: str, kinds: list[int], limit: int, number: int | None, fleet: bool) -> None:
        """Claim what is most urgent, as the owner or as a fleet, perhaps with the request_id of an earlier claim."""
        names, caller = [self.kinds[kind] for kind in kinds], FLEET if fleet else owner
        request_id = "" if number is None else f"{self.kinds[0]}-{number}"
        request = work_pb.ClaimChunksRequest(
            kinds=names,
            owners=[owner],
            max_chunks=limit,
            worker="w",
            lease_duration=HOUR,
            request_id=request_id,
        )
        given = self._call(caller, "ClaimChunks", request).chunks
        leases = self.ledger.claim(owner, names, limit, (caller, request_id) if request_id else None)
        assert [one.owner for one in given] == [one.job.owner for one in leases]
        claimed = [(chunk.job_id, chunk.chunk.index) for chunk in given]
        expected = [(lease.job.job_id, lease.chunk.index) for lease in leases]
        assert claimed == expected, f"{caller} claimed {claimed}, and should have claimed {expected}"
        for lease, one in zip(leases, given, strict=True):
            assert self.tokens.setdefault(lease, one.lease.token) == one.lease.token

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers, index=st.integers(0, 4), task_id=st.sampled_from(["", "t1", "t2"]))
    def claim_one(self, owner: str, number: int, index: int, task_id: str) -> None:
        """Claim one named chunk."""
        job_id = self._job(number).job_id
        request = work_pb.ClaimChunkRequest(
            job_id=job_id, chunk_index=index, worker="w", task_id=task_id, lease_duration=HOUR
        )
        with self._as_expected(lambda: self.ledger.claim_one(owner, job_id, index, task_id)) as lease:
            token = self._call(owner, "ClaimChunk", request).chunk.lease.token
            assert self.tokens.setdefault(lease, token) == token

    @precondition(lambda self: self.tokens)
    @rule(owner=owners, chosen=st.lists(numbers, min_size=1, max_size=3), percent=st.integers(0, 100))
    def heartbeat(self, owner: str, chosen: list[int], percent: int) -> None:
        """Report on some leases, whosever they are."""
        leases = self._leases(chosen)
        reports = [work_pb.LeaseReport(lease_token=self.tokens[one], progress={"percent": percent}) for one in leases]
        request = work_pb.HeartbeatRequest(reports=reports, lease_duration=HOUR)
        results = self._call(owner, "Heartbeat", request).results
        expected = self.ledger.heartbeat(owner, [(lease, percent) for lease in leases])
        assert [result.status for result in results] == expected

    @precondition(lambda self: self.tokens)
    @rule(
        owner=owners,
        chosen=st.lists(numbers, min_size=1, max_size=3),
        how=st.sampled_from(["complete", "complete", "fail", "fail for good", "release"]),
        percent=st.none() | st.integers(0, 100),
        output=st.none() | st.integers(0, 9),
    )
    def end(self, owner: str, chosen: list[int], how: str, percent: int | None, output: int | None) -> None:
        """End some leases, whosever they are, also those that have ended before."""
        leases = self._leases(chosen)
        last = {} if percent is None else {"percent": percent}
        request = ending([self.tokens[one] for one in leases], how, last, {} if output is None else {"n": output})
        method = {"c": "CompleteChunks", "f": "FailChunks", "r": "ReleaseChunks"}[how[0]]
        results = self._call(owner, method, request).results
        expected = self.ledger.end(owner, leases, how, percent, output)
        assert [(result.status, result.chunk_state) for result in results] == expected

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers, force=st.booleans(), reason=st.sampled_from(["", "why"]), how=demands)
    def cancel(self, owner: str, number: int, force: bool, reason: str, how: str) -> None:
        """Cancel a job."""
        job_id = self._job(number).job_id
        demanded = self._demanded(owner, job_id, how)
        request = jobs_pb.CancelJobRequest(job_id=job_id, force=force, reason=reason, grace_period=HOUR, **demanded)
        with self._as_expected(lambda: self.ledger.cancel(owner, job_id, reason, force=force, **demanded)) as outcome:
            assert self._call(owner, "CancelJob", request).outcome == outcome

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers, indexes=st.lists(st.integers(0, 4), max_size=2, unique=True), how=demands)
    def retry(self, owner: str, number: int, indexes: list[int], how: str) -> None:
        """Retry a job, or some of its chunks."""
        job_id = self._job(number).job_id
        demanded = self._demanded(owner, job_id, how)
        request = jobs_pb.RetryJobRequest(job_id=job_id, chunk_indexes=indexes, **demanded)
        with self._as_expected(lambda: self.ledger.retry(owner, job_id, indexes, **demanded)) as job:
            output = self._call(owner, "RetryJob", request).job
            assert (output.state, output.retry_count) == (job.state, job.retry_count)

    @precondition(lambda self: self.requests)
    @rule(
        owner=owners,
        number=numbers,
        priority=st.none() | st.sampled_from([0, 5, 10]),
        labels=st.none() | st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
        how=demands,
    )
    def update(self, owner: str, number: int, priority: int | None, labels: dict[str, str] | None, how: str) -> None:
        """Change a job."""
        if priority is None and labels is None:
            return
        job_id = self._job(number).job_id
        paths = ["priority"] * (priority is not None) + ["labels"] * (labels is not None)
        demanded = self._demanded(owner, job_id, how)
        request = jobs_pb.UpdateJobRequest(
            job_id=job_id, update_mask={"paths": paths}, priority=priority, labels=labels or {}, **demanded
        )
        with self._as_expected(lambda: self.ledger.update(owner, job_id, priority, labels, **demanded)):
            self._call(owner, "UpdateJob", request)

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers, later=st.booleans())
    def reschedule(self, owner: str, number: int, later: bool) -> None:
        """Give a job another time to begin at, or none."""
        job_id, time = self._job(number).job_id, datetime.now(UTC) + timedelta(hours=1) if later else None
        mask = {"paths": ["schedule_time"]}
        request = jobs_pb.UpdateJobRequest(job_id=job_id, update_mask=mask, schedule_time=time)
        with self._as_expected(lambda: self.ledger.reschedule(owner, job_id, time)):
            self._call(owner, "UpdateJob", request)

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers, force=st.booleans(), how=demands)
    def delete(self, owner: str, number: int, force: bool, how: str) -> None:
        """Delete a job."""
        job_id = self._job(number).job_id
        demanded = self._demanded(owner, job_id, how)
        with self._as_expected(lambda: self.ledger.delete(owner, job_id, force=force, **demanded)):
            self._call(owner, "DeleteJob", jobs_pb.DeleteJobRequest(job_id=job_id, force=force, **demanded))

    @precondition(lambda self: self.requests)
    @rule(owner=owners, number=numbers)
    def list_attempts(self, owner: str, number: int) -> None:
        """List the attempts at a job's chunks, page by page, and find the job by the task of each."""
        job_id = self._job(number).job_id
        with self._as_expected(lambda: self.ledger.job(owner, job_id)) as job:
            listed, token = [], ""
            while True:
                request = jobs_pb.ListAttemptsRequest(job_id=job_id, page_size=3, page_token=token)
                page = self._call(owner, "ListAttempts", request)
                listed += page.attempts
                if not (token := page.next_page_token):
                    break
            found = [(one.chunk_index, one.number, one.task_id, OUTCOMES[one.outcome]) for one in listed]
            tries = {chunk.index: list(enumerate(chunk.tries, 1))[-20:] for chunk in job.chunks}
            assert found == [(index, n, task, how) for index, of in tries.items() for n, (task, how) in of]
            for task_id in {task_id for _, _, task_id, _ in found if task_id}:
                request = jobs_pb.ListJobsRequest(filter={"kinds": self.kinds, "task_id": task_id}, page_size=500)
                assert job_id in [one.job_id for one in self._call(owner, "ListJobs", request).jobs]

    @rule(
        owner=owners,
        states=st.lists(st.sampled_from(STATES), max_size=3),
        direction=st.sampled_from(("ASC", "DESC")),
        urgent=st.booleans(),
    )
    def list_some(self, owner: str, states: list[JobState], direction: str, urgent: bool) -> None:
        """List the jobs in some states, in an order, page by page."""
        jobs = [job for job in self.ledger.of(owner) if not states or job.state in states]
        jobs.sort(key=lambda job: (job.priority if urgent else 0, job.number), reverse=direction == "DESC")
        order = jobs_pb.JobOrder.Value(f"JOB_ORDER_{'PRIORITY' if urgent else 'CREATE_TIME'}_{direction}")
        listed, token = [], ""
        while True:
            page = self._page(owner, states=states, order=order, page_size=2, page_token=token)
            assert (page.total_size, page.total_is_lower_bound) == (len(jobs), False)
            listed += [job.job_id for job in page.jobs]
            if not (token := page.next_page_token):
                break
        assert listed == [job.job_id for job in jobs]

    def _page(self, owner: str, states: Sequence[JobState] = (), **fields: Any) -> jobs_pb.ListJobsResponse:
        request = jobs_pb.ListJobsRequest(filter={"kinds": self.kinds, "states": states}, **fields)
        return self._call(owner, "ListJobs", request)

    @invariant()
    def jobs_are_as_in_the_model(self) -> None:
        """Each owner gets his own jobs as the model has them, and of the other's not even that they are there."""
        if not self.requests:
            return
        known = sorted({request.job_id for _, request in self.requests})
        for owner in OWNERS:
            request = jobs_pb.BatchGetJobsRequest(job_ids=known, view=JobView.JOB_VIEW_FULL)
            found = self._call(owner, "BatchGetJobs", request)
            assert [job.job_id for job in found.jobs] == [one for one in known if (owner, one) in self.ledger.jobs]
            assert list(found.missing_job_ids) == [one for one in known if (owner, one) not in self.ledger.jobs]
            for shown in found.jobs:
                assert_same(shown, self.ledger.jobs[owner, shown.job_id])

    @invariant()
    def counts_are_as_in_the_model(self) -> None:
        """The statistics count what is there now."""
        for owner in OWNERS:
            now = self._call(owner, "GetJobStats", GetJobStatsRequest(kinds=self.kinds)).total.now
            jobs = self.ledger.of(owner)
            counted = [now.queued, now.running, now.cancelling, now.completed, now.failed, now.cancelled]
            assert counted == [sum(job.state == state for job in jobs) for state in STATES]
            assert now.chunks_pending == sum(job.count(CHUNK_PENDING) for job in jobs)
            assert now.chunks_processing == sum(job.count(CHUNK_PROCESSING) for job in jobs)

    def teardown(self) -> None:
        """Watch all of it again from the beginning: each change of each of his jobs, once, in order, and no other."""
        for owner in OWNERS if self.requests else ():
            ended = [job for job in self.ledger.gone if job.owner == owner]
            jobs = [*ended, *self.ledger.of(owner)]
            expected = {(job.job_id, job.number): list(job.history) for job in jobs}
            seen = self._replayed(owner, sum(map(len, expected.values())) + len(ended))
            assert seen == [expected[job.job_id, job.number] for job in sorted(jobs, key=lambda job: job.number)]

    def _replayed(self, owner: str, count: int) -> list[list[JobState]]:
        """Return the states that each job went through, in the order of the jobs' creation."""
        request = jobs_pb.WatchJobsRequest(
            filter={"kinds": self.kinds}, cursor=self.cursors[owner], mode=jobs_pb.WatchMode.WATCH_MODE_EVERY
        )
        stream = self._call(owner, "WatchJobs", request)
        lives: dict[str, list[JobState]] = {}
        all_of_them: list[list[JobState]] = []
        while count:
            message = next(stream)
            if not message.HasField("event"):
                continue
            count -= 1
            assert message.event.owner == owner
            if message.type == DELETED:
                del lives[message.job.job_id]
                continue
            if message.event.revision == 1:
                all_of_them.append(lives.setdefault(message.job.job_id, []))
            lives[message.job.job_id].append(message.job.state)
            assert message.event.revision == message.job.revision == len(lives[message.job.job_id])
        stream.cancel()
        return all_of_them
