"""View STATUS: small messages, made of what moves alone, once for all who watch so."""

import pytest
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.database.tables import events
from sqlalchemy import NullPool, create_engine, func, select

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.server import Server
from tests.support.states import RUNNING
from tests.support.watching import SNAPSHOT
from tests.watch.conftest import Watching

BASIC, FULL, STATUS = JobView.JOB_VIEW_BASIC, JobView.JOB_VIEW_FULL, JobView.JOB_VIEW_STATUS
EVERY = WatchMode.WATCH_MODE_EVERY
STAGES = [{"name": f"transcode_{number}", "weight": 1} for number in range(9)]
ARTIFACTS = {f"out-{number}": {"uri": "s3://bucket/".ljust(585, "x")} for number in range(20)}
TABLE = {"plain": (250, 500, 500), "rich": (300, 14_000, 1_300)}
"""The maximum bytes of a percent: in view STATUS, in the other one, and in the database. docs/watch.md has these."""


async def status_of(api: Api, job: Job) -> Job:
    """Return a job in view STATUS."""
    return await api.get(job.job_id, view=STATUS)


@pytest.mark.parametrize("form", TABLE)
async def test_a_percent_takes_no_more_bytes_than_the_documents_say(api: Api, server: Server, form: str):
    rich = form == "rich"
    kind = f"media.transcode-{fresh_kind()[-8:]}"
    job = await api.create(kind, stages=STAGES if rich else [], display_name="The film, part one" if rich else "")
    [claimed] = await api.claim(kind)
    for stage in STAGES if rich else ():
        await api.report(claimed, percent=1, stage=stage["name"], job_artifacts=ARTIFACTS)
    async with api.watch_job(job.job_id, view=STATUS) as small, api.watch_job(job.job_id) as large:
        await small.message()
        await large.message()
        await api.report(claimed, percent=41.5)
        messages = [await small.message(), await large.message()]
    with create_engine(server.database, poolclass=NullPool).connect() as connection:
        wanted = select(func.length(events.c.message)).where(events.c.position == messages[0].event.position)
        stored = connection.execute(wanted).scalar_one()
    sizes = (*(message.ByteSize() for message in messages), stored)
    assert all(0.7 * bound <= size <= bound for size, bound in zip(sizes, TABLE[form], strict=True)), sizes


async def test_a_message_in_view_status_has_the_job_as_get_job_shows_it_and_no_chunks(
    api: Api, kind: str, watching: Watching
):
    job = await api.job_in(RUNNING, kind, input={"a": 1}, item_count=60, chunk_size=1)
    async with watching(api, job, view=STATUS) as watch, watching(api, job) as whole:
        first = await watch.message()
        await whole.change()
        assert (first.type, first.job) == (SNAPSHOT, await status_of(api, job))
        await api.cancel(job.job_id)
        message, other = await watch.change(), await whole.change()
    assert message.job == await status_of(api, job)
    assert (len(message.chunks), len(message.chunk_ranges)) == (0, 0)
    assert {field.name for field, _ in message.event.ListFields()} == {"position", "revision", "commit_time", "changes"}
    assert list(message.event.changes) == list(other.event.changes)


async def test_another_view_is_refused(api: Api, kind: str, watching: Watching):
    job = await api.create(kind)
    for view in (BASIC, FULL, 99):
        with invalid("view"):
            await watching(api, job, view=view).message()
