"""Messages are bounded by bytes: what could not be taken fails where it is reported, and finished work is not lost."""

from collections.abc import Callable, Sequence

import pytest
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import ChunkCompletion, LeaseReport
from jobledger_client import AsyncJobClient, ChunkContext, JobState, JobView
from jobledger_client._worker._batches import MAX_BATCH, MAX_BATCH_BYTES, batches
from jobledger_client._worker._heartbeats import Heartbeats
from jobledger_client._worker._leases import HeldLeases
from jobledger_client._worker._pending import MAX_REPORT_BYTES

from tests.client.conftest import Serving
from tests.client.controlled import SetTime
from tests.client.test_fencing import Answering, Holder
from tests.conftest import StartServer
from tests.support.bounds import CALL_TIMEOUT

pytestmark = pytest.mark.one_store("messages are bounded before the store")

SERVER_LIMIT = 4 * 1024 * 1024
LARGEST = {  # what one artifact may have
    "uri": "s3://" + "b" * 2_043,
    "content_type": "t" * 255,
    "metadata": {"m": "x" * 4_075},
}


def largest() -> Artifact:
    artifact = Artifact(uri=LARGEST["uri"], content_type=LARGEST["content_type"])
    artifact.metadata.update(LARGEST["metadata"])
    return artifact


def test_batches_are_bounded_by_number_and_by_bytes():
    sizes = [MAX_BATCH_BYTES // 3] * 4 + [2 * MAX_BATCH_BYTES] + [1] * (MAX_BATCH + 1)
    made = list(batches(sizes, lambda size: size))
    assert [len(batch) for batch in made] == [3, 1, 1, MAX_BATCH, 1]
    assert [size for batch in made for size in batch] == sizes


def test_heartbeats_of_many_artifacts_are_split_below_the_servers_limit():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    service = Answering(time)
    holders = [Holder(leases, f"t{n}") for n in range(30)]
    for holder in holders:
        leases.add(holder)
        for n in range(50):
            holder.pending.add_artifact(f"a{n}", largest(), job=False)
        for n in range(100):
            holder.pending.add_artifact(f"j{n}", largest(), job=True)
    Heartbeats(service, leases).beat()
    sizes = [sum(report.ByteSize() for report in call) for call in service.calls]
    assert sum(sizes) > 5 * SERVER_LIMIT
    assert max(sizes) <= MAX_BATCH_BYTES + 1_024 < SERVER_LIMIT
    assert not any(holder.pending for holder in holders)


def test_what_is_too_much_for_one_report_follows_with_the_next():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    service, holder = Answering(time), Holder(leases)
    leases.add(holder)
    names = [f"{n:05}" for n in range(400)]
    for name in names:
        holder.pending.add_artifact(name, largest(), job=False)
    heartbeats = Heartbeats(service, leases)
    while holder.pending:
        heartbeats.beat()
    reports: Sequence[LeaseReport] = [report for call in service.calls for report in call]
    assert sorted(name for report in reports for name in report.progress.artifacts) == names  # each once
    assert len(reports) == 3
    assert max(report.ByteSize() for report in reports) <= MAX_REPORT_BYTES + 1_024


async def test_all_that_a_chunk_may_have_is_one_report_and_one_commit(client: AsyncJobClient, kind: str):
    leases = HeldLeases(30.0, 10.0)
    holder = Holder(leases)
    for n in range(40):
        holder.pending.add_artifact(f"a{n}", largest(), job=False)
    for n in range(80):
        holder.pending.add_artifact(f"j{n}", largest(), job=True)
    taken = holder.pending.snapshot()
    assert taken.is_all
    job = (await client.create_job(kind)).job
    [claimed] = await client.leases.claim_chunks([kind], worker="w")
    await client.leases.complete_chunks([ChunkCompletion(lease_token=claimed.lease.token, progress=taken.report)])
    ended = await client.get_job(job.job_id, view=JobView.FULL)
    assert (ended.state, ended.revision) == (JobState.COMPLETED, 3)  # created, claimed, completed
    assert (len(ended.chunks[0].artifacts), len(ended.artifacts)) == (40, 80)


@pytest.mark.guarantee("3c.2")
async def test_an_oversized_completion_loses_no_work(start_server: StartServer, serving: Serving, kind: str):
    server = start_server(message_limit="20000")

    async def handler(ctx: ChunkContext) -> None:
        for n in range(12):
            ctx.artifact(f"a{n}", **LARGEST)
        ctx.progress(message="the last word")

    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        job = (await client.create_job(kind, item_count=4, chunk_size=1)).job
        async with serving({kind: handler}, target=server.target):
            assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
        job = await client.get_job(job.job_id, view=JobView.FULL)
    assert [len(chunk.artifacts) for chunk in job.chunks] == [12] * 4
    assert {chunk.progress.message for chunk in job.chunks} == {"the last word"}


REFUSED: list[tuple[str, Callable[[ChunkContext], object]]] = [
    ("name must", lambda ctx: ctx.artifact("", uri="s3://b/k")),
    ("name must", lambda ctx: ctx.artifact("n" * 129, uri="s3://b/k")),
    ("name must", lambda ctx: ctx.artifact("a\0b", uri="s3://b/k")),
    ("uri must", lambda ctx: ctx.artifact("a", uri="")),
    ("uri must", lambda ctx: ctx.artifact("a", uri="s3://b/" + "k" * 2_048)),
    ("uri must have one of the schemes", lambda ctx: ctx.artifact("a", uri="ftp://host/k")),
    ("uri must have one of the schemes", lambda ctx: ctx.artifact("a", uri="file:///etc/passwd")),
    ("uri must have one of the schemes", lambda ctx: ctx.result("file:///etc/passwd")),
    ("uri must name a host", lambda ctx: ctx.artifact("a", uri="s3:///k")),
    ("uri must name a host", lambda ctx: ctx.artifact("a", uri="s3://b/a b")),
    ("content_type must", lambda ctx: ctx.artifact("a", uri="s3://b/k", content_type="t" * 256)),
    ("size_bytes must", lambda ctx: ctx.artifact("a", uri="s3://b/k", size_bytes=-1)),
    ("size_bytes must", lambda ctx: ctx.artifact("a", uri="s3://b/k", size_bytes=2**53 + 1)),
    ("name: must have no half of", lambda ctx: ctx.artifact("\ud800", uri="s3://b/k")),
    ("surrogate|can.t encode", lambda ctx: ctx.artifact("a", uri="s3://b/\ud800")),
    ("surrogate|can.t encode", lambda ctx: ctx.result("s3://b/\ud800")),
    ("reason: must have no half of", lambda ctx: ctx.release(reason="\ud800")),
    ("output: must be a dict; got list", lambda ctx: setattr(ctx, "output", [1])),
    ("metadata must", lambda ctx: ctx.artifact("a", uri="s3://b/k", metadata={"m": "x" * 4_097})),
    ("a chunk must have at most 50", lambda ctx: [ctx.artifact(f"{n}", uri="s3://b/k") for n in range(51)]),
    ("a job must have at most 100", lambda ctx: [ctx.artifact(f"{n}", uri="s3://b/k", job=True) for n in range(101)]),
    ("message must", lambda ctx: ctx.progress(message="a\0b")),
    ("percent must be within", lambda ctx: ctx.progress(percent=101)),
    ("items_completed must be within", lambda ctx: ctx.progress(items_completed=11)),
    ("uri must have a scheme", lambda ctx: ctx.artifact("a", uri="/etc/passwd")),
    ("uri must have a scheme", lambda ctx: ctx.result("result.txt")),
    ("stage must", lambda ctx: ctx.progress(stage="")),
    ("stage must", lambda ctx: ctx.progress(stage="s" * 129)),
]


async def test_what_the_service_would_refuse_is_refused_where_it_is_reported(
    client: AsyncJobClient, serving: Serving, kind: str
):
    reported: list[str] = []

    async def handler(ctx: ChunkContext) -> None:
        message, report = REFUSED[ctx.chunk.index]
        with pytest.raises(ValueError, match=message) as caught:
            report(ctx)
        reported.append(str(caught.value))

    job = (await client.create_job(kind, item_count=len(REFUSED), chunk_size=1)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, len(reported)) == (JobState.COMPLETED, len(REFUSED))


async def test_the_schemes_are_those_of_the_server(start_server: StartServer, serving: Serving, kind: str):
    server = start_server(allow_file_artifacts="true")

    async def handler(ctx: ChunkContext) -> None:
        ctx.artifact("local", uri="file:///srv/video.mp4")

    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        job = (await client.create_job(kind)).job
        async with serving({kind: handler}, target=server.target):
            assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
        job = await client.get_job(job.job_id, view=JobView.FULL)
    assert job.chunks[0].artifacts["local"].uri == "file:///srv/video.mp4"
