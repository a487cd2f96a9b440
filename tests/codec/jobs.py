"""Jobs, chunks and changes of every shape, as the ledger may have to tell of them."""

from hypothesis import strategies as st
from jobledger.v1 import job_pb2
from jobledger_service.core.api import convert
from jobledger_service.core.model.chunk import Artifact, Chunk, ChunkProgress, WorkError
from jobledger_service.core.model.counts import Counts
from jobledger_service.core.model.history.change import Change, ChangeType, JobDelta
from jobledger_service.core.model.job import Job, JobSpec, Stage, StageTiming
from jobledger_service.core.model.job_progress import JobProgress
from jobledger_service.core.model.states import ChunkState, JobState
from msgspec.structs import replace

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND

texts = st.sampled_from(("", "plain", "étape 2", "日本", "\U0001d11e", "x" * 300))
names = st.sampled_from(("a", "b.c", "long-name_9"))
times = st.integers(0, NOW)
labels = st.dictionaries(names, texts, max_size=3)
artifacts = st.dictionaries(
    names,
    st.builds(
        Artifact,
        uri=texts,
        content_type=names,
        size_bytes=st.none() | st.integers(0, 2**62),
        metadata=st.none() | st.just(b""),
        create_time=times,
    ),
    max_size=3,
)
errors = st.builds(WorkError, code=names, message=texts, stage=texts, chunk_index=st.none() | st.integers(0, 99))
chunks = st.builds(
    Chunk,
    job_key=st.just("alice/j"),
    index=st.integers(0, 200),
    create_time=times,
    max_attempts=st.integers(1, 9),
    state=st.sampled_from(ChunkState),
    attempt=st.integers(0, 9),
    task_id=names,
    worker=texts,
    progress=st.builds(
        ChunkProgress,
        done=st.integers(0, SECOND),
        stage=texts,
        stage_percent=st.none() | st.floats(0, 100),
        message=texts,
    ),
    artifacts=artifacts,
    error=st.none() | errors,
    start_time=st.none() | times,
    end_time=st.none() | times,
    lease_expire_time=st.none() | times,
    next_attempt_time=st.none() | times,
    held=st.integers(0, 7),
).map(lambda chunk: replace(chunk, artifacts_revision=3 if chunk.artifacts else None))
changes = st.builds(
    Change,
    type=st.sampled_from([one for one in ChangeType if one is not ChangeType.IMPORTED]),
    actor=texts,
    from_state=st.none() | st.sampled_from(JobState),
    to_state=st.none() | st.sampled_from(JobState),
    chunk_index=st.none() | st.integers(0, 99),
    reason=texts,
)


uids = st.binary(min_size=16, max_size=16)


@st.composite
def jobs(draw: st.DrawFn, job_id: str = "j") -> Job:
    """Draw a job; its fields fit together no better than they must to be shown."""
    stages = draw(st.lists(st.builds(Stage, name=names, weight=st.floats(0.1, 9)), max_size=3))
    timings = draw(
        st.lists(
            st.builds(StageTiming, stage=names, duration=times, start_time=times, end_time=st.none() | times),
            max_size=3,
        )
    )
    count = st.integers(0, 50)
    own = draw(artifacts)
    return Job(
        JobSpec("alice", job_id, draw(names), b"", draw(times), stages=tuple(stages), uid_bytes=draw(uids)),
        JobProgress(SECOND, draw(st.integers(0, SECOND)), message=draw(texts), stage=draw(texts)),
        Counts(draw(count), draw(count), draw(count), draw(count), draw(count)),
        draw(times),
        display_name=draw(texts),
        priority=draw(st.integers(0, 10)),
        labels=draw(labels),
        state=draw(st.sampled_from(JobState)),
        revision=draw(st.integers(1, 99)),
        stage_timings=tuple(timings),
        artifacts=own,
        artifacts_revision=draw(st.integers(1, 99)) if own else None,
        declared_result=draw(texts),
        first_failure=draw(st.none() | errors),
        cancel_reason=draw(texts),
        start_time=draw(st.none() | times),
        end_time=draw(st.none() | times),
        expire_time=draw(st.none() | times),
        parked_for=draw(st.sampled_from(("", "alice/kind:k"))),
    )


@st.composite
def deltas(draw: st.DrawFn, most_chunks: int = 4) -> JobDelta:
    """Draw what a commit did to a job."""
    job = draw(jobs())
    of_job = draw(st.lists(chunks, max_size=most_chunks, unique_by=lambda chunk: chunk.index))
    before = draw(st.none() | jobs())
    return JobDelta(
        before=before,
        job=job,
        chunks={chunk.index: chunk for chunk in sorted(of_job, key=lambda chunk: chunk.index)},
        changes=draw(st.lists(changes, min_size=1, max_size=3)),
        deleted=draw(st.booleans()),
    )


def fill_job(message: job_pb2.Job, value: Job) -> None:
    """Fill an empty message with a job in view BASIC, field by field."""
    convert.fill_fixed(message, value.spec)
    for name, artifact in value.artifacts.items():
        message.artifacts[name].CopyFrom(convert.artifact(artifact))
    convert.fill_moving(message, value)
