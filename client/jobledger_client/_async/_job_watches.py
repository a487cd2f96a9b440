"""The calls that watch one job, or many."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Unpack

from jobledger.v1 import job_service_pb2 as rpc

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._async._job_service import AsyncJobService
from jobledger_client._async._watch import AsyncWatch
from jobledger_client._generated._enums import ChangeType, JobView, WatchMode
from jobledger_client._seen_jobs import Relist


class AsyncJobWatches(AsyncJobService):
    """Watches of one job, and of many."""

    def watch(
        self,
        job_id: str,
        *,
        cursor: bytes = b"",
        mode: WatchMode = WatchMode.LATEST,
        view: JobView | None = None,
        change_types: Iterable[ChangeType] = (),
        state_changes_only: bool = False,
        bookmarks: bool = False,
        uid: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
    ) -> AsyncWatch[rpc.WatchJobRequest, rpc.WatchJobResponse]:
        """Watch one job: its state now, or what followed `cursor`, and every change until it has ended.

        In view STATUS messages are small, and have no chunks; no other view is accepted. `change_types` and
        `state_changes_only` pass over other changes, but for the first message, DELETED and the end.

        Iteration ends after the message with the terminal state, or with DELETED; it yields nothing when that message
        was at or before `cursor`. Mode EVERY never merges revisions. `bookmarks` adds messages with a cursor alone.
        `timeout` limits the whole watch, `reconnect_timeout` how long it looks for a server once it has begun; None
        means no limit. With a `uid`, another job with this job_id is not found, also one that got it before or after.
        """
        request = rpc.WatchJobRequest(
            job_id=job_id,
            cursor=cursor,
            mode=values.number(mode),
            view=values.number(view),
            change_types=values.numbers(change_types),
            state_changes_only=state_changes_only,
            uid=uid,
            owner=owner,
        )
        return AsyncWatch(
            self._caller,
            self._stub.WatchJob,
            request,
            one_job=True,
            bookmarks=bookmarks,
            timeout=timeout,
            reconnect_timeout=reconnect_timeout,
        )

    def watch_jobs(
        self,
        *,
        cursor: bytes = b"",
        mode: WatchMode = WatchMode.LATEST,
        view: JobView | None = None,
        change_types: Iterable[ChangeType] = (),
        state_changes_only: bool = False,
        from_now: bool = False,
        bookmarks: bool = False,
        timeout: timedelta | None = None,
        reconnect_timeout: timedelta | None = timedelta(minutes=5),
        relist: bool = True,
        on_relist: Callable[[Relist], object] | None = None,
        **filter: Unpack[requests.ReadFilterFields],  # noqa: A002 - the contract's name for it
    ) -> AsyncWatch[rpc.WatchJobsRequest, rpc.WatchJobsResponse]:
        """Watch every job that matches the filter: those that match now, or what followed `cursor`, and every change.

        It has no end of its own; see `watch` for the options. `from_now` leaves out the jobs that match now.

        When the service no longer has the history after the cursor, the watch restarts from the jobs that match now: it
        returns those that are new or changed as SNAPSHOT, calls `on_relist`, and returns LEFT, with owner and job_id
        alone, for jobs of this watch that are gone. The events in between are missing, and jobs that the caller knew
        before this watch may be gone. With `relist=False` it raises HistoryTrimmedError or HistoryLostError instead.
        """
        request = rpc.WatchJobsRequest(
            filter=requests.job_filter(filter),
            cursor=cursor,
            mode=values.number(mode),
            view=values.number(view),
            change_types=values.numbers(change_types),
            state_changes_only=state_changes_only,
            from_now=from_now,
            batches=True,
        )
        return AsyncWatch(
            self._caller,
            self._stub.WatchJobs,
            request,
            one_job=False,
            bookmarks=bookmarks,
            timeout=timeout,
            reconnect_timeout=reconnect_timeout,
            relist=relist,
            on_relist=on_relist,
        )
