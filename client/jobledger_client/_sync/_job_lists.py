# Generated from _async/_job_lists.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls that list jobs, and chunks, attempts and events."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Unpack

from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.chunk_pb2 import Attempt, Chunk
from jobledger.v1.event_pb2 import JobEvent
from jobledger.v1.job_pb2 import Job

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._generated._enums import ChangeType, ChunkState, EventOrder, JobOrder, JobView
from jobledger_client._sync._job_service import JobService
from jobledger_client._sync._pages import Pages


class JobLists(JobService):
    """Lists, page by page."""

    def list_jobs(
        self,
        *,
        order: JobOrder = JobOrder.CREATE_TIME_DESC,
        page_size: int = 0,
        page_token: str = "",
        view: JobView = JobView.BASIC,
        timeout: timedelta | None = None,
        **filter: Unpack[requests.ReadFilterFields],  # noqa: A002 - the contract's name for it
    ) -> Pages[rpc.ListJobsResponse, Job]:
        """List the jobs that match the filter, newest first unless `order` says otherwise.

        `page_size` is 1 to 500, 100 when 0. A page may have fewer jobs, even none; iterating then reads the next one.
        watch_jobs continues without a gap from a page's `cursor`.
        """
        request = rpc.ListJobsRequest(
            filter=requests.job_filter(filter),
            order=values.number(order),
            page_size=page_size,
            page_token=page_token,
            view=values.number(view),
        )
        return Pages(self._caller, self._stub.ListJobs, request, lambda page: page.jobs, timeout)

    def list_chunks(
        self,
        job_id: str,
        *,
        states: Iterable[ChunkState] = (),
        claimable: bool = False,
        page_size: int = 0,
        page_token: str = "",
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.ListChunksResponse, Chunk]:
        """List a job's chunks by index; empty `states` mean all. `page_size` is 1 to 1,000, 100 when 0.

        `claimable` ones are those that a worker may claim now, in the order in which claims get them. With a `uid`,
        another job with this job_id is not found.
        """
        request = rpc.ListChunksRequest(
            job_id=job_id,
            states=values.numbers(states),
            claimable=claimable,
            page_size=page_size,
            uid=uid,
            owner=owner,
            page_token=page_token,
        )
        return Pages(self._caller, self._stub.ListChunks, request, lambda page: page.chunks, timeout)

    def list_attempts(
        self,
        job_id: str,
        *,
        chunk_index: int | None = None,
        task_id: str = "",
        page_size: int = 0,
        page_token: str = "",
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.ListAttemptsResponse, Attempt]:
        """List the attempts at a job's chunks, or at one, or those of an engine's task: by chunk, then oldest first.

        `AttemptOutcome(attempt.outcome)` says how one ended. `page_size` is 1 to 1,000, 100 when 0. With a `uid`,
        another job with this job_id is not found.
        """
        request = rpc.ListAttemptsRequest(
            job_id=job_id,
            chunk_index=chunk_index,
            task_id=task_id,
            page_size=page_size,
            page_token=page_token,
            uid=uid,
            owner=owner,
        )
        return Pages(self._caller, self._stub.ListAttempts, request, lambda page: page.attempts, timeout)

    def list_events(
        self,
        job_id: str = "",
        *,
        uid: str = "",
        actors: Iterable[str] = (),
        change_types: Iterable[ChangeType] = (),
        commit_time: values.TimeRangeLike | None = None,
        kinds: Iterable[str] = (),
        owner: str = "",
        all_owners: bool = False,
        order: EventOrder = EventOrder.POSITION_DESC,
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.ListEventsResponse, JobEvent]:
        """List the history of one job, also of a deleted one, or of all jobs, newest first: who did what to which job.

        `uid` names one of several jobs that had this job_id; empty: the present one, or else the last. An actor is a
        worker, NAME/KEY_ID of a key, or NAME/ for all keys of that name. One change by an actor must be of
        `change_types`: without them, any of one job, and of all jobs all but CLAIMED, PROGRESSED, CHUNK_COMPLETED and
        CHUNK_RELEASED, the work on chunks that goes well. `owner` and `all_owners` need an admin's key. `page_size` is
        1 to 500, 100 when 0.
        """
        event_filter = rpc.EventFilter(
            actors=requests.names("actors", actors),
            change_types=values.numbers(change_types),
            commit_time=values.time_range(commit_time),
            kinds=requests.names("kinds", kinds),
            owner=owner,
            all_owners=all_owners,
        )
        request = rpc.ListEventsRequest(
            filter=event_filter,
            page_size=page_size,
            page_token=page_token,
            order=values.number(order),
            job_id=job_id,
            uid=uid,
        )
        return Pages(self._caller, self._stub.ListEvents, request, lambda page: page.events, timeout)
