"""The two ways to watch a job, under one name."""

from collections.abc import Callable
from functools import partial

import pytest
from jobledger.v1.job_pb2 import Job, JobView

from tests.support.api import Api
from tests.support.watching import Watch

Watching = Callable[..., Watch]


def watch_one(api: Api, job: Job, **fields: object) -> Watch:
    """Watch a job by its id."""
    return api.watch_job(job.job_id, **fields)


def watch_many(api: Api, job: Job, **fields: object) -> Watch:
    """Watch a job as the only one of its kind."""
    return api.watch_jobs(job.kind, **fields)


@pytest.fixture(params=[watch_one, watch_many], ids=["WatchJob", "WatchJobs"])
def watching(request: pytest.FixtureRequest) -> Watching:
    """Return a function that watches a job."""
    return request.param


@pytest.fixture(params=[JobView.JOB_VIEW_UNSPECIFIED, JobView.JOB_VIEW_STATUS], ids=["whole", "STATUS"])
def in_view(request: pytest.FixtureRequest, watching: Watching) -> Watching:
    """Return a function that watches a job in one of the views."""
    return partial(watching, view=request.param)
