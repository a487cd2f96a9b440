"""A: one Get tells all about every segment, and stays small when asked to."""

from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure
from jobledger_client import AttemptOutcome, ChunkState, JobClient, JobView

from examples.bucket import read
from examples.speech_video.__main__ import start
from examples.speech_video.audio import Segment, cut, load, loudness, synthesise
from examples.speech_video.face import frames_in
from examples.speech_video.submit import KIND, submit
from tests.examples.answers import RFC3339, answer_of, assert_no_local_paths
from tests.support.bounds import CALL_TIMEOUT
from tests.support.errors import assert_entry_refused
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

SEGMENTS = 3
CHUNKS = SEGMENTS + 1  # with the finalizer
COUNTS = ("total", "pending", "processing", "completed", "failed")


@pytest.fixture(scope="module")
def answers(caller: JobClient, server: Server, stack: ExitStack, folder: Path) -> dict[str, Any]:
    """Return what GetJob answers before the work and after it."""
    speech = folder / "speech.wav"
    synthesise(speech, [0.6] * SEGMENTS)
    files = start(stack, server.target, folder)
    submit(caller, files, speech, "speech-a")
    assert submit(caller, files, speech, "speech-a").job_id == "speech-a", "submitting again is no second job"
    before = answer_of(caller.get_job("speech-a", view=JobView.FULL))
    assert len(list(caller.list_jobs(kinds=[KIND]))) == 1
    ended = caller.wait("speech-a", timeout=CALL_TIMEOUT)
    return {
        "before": before,
        "ended": answer_of(ended),
        "after": answer_of(caller.get_job("speech-a", view=JobView.FULL)),
    }


class TestTroubleToday:
    """What the team could not do before, line by line."""

    def test_one_get_counts_the_segments_by_state(self, answers: dict[str, Any]):
        after = answers["after"]["chunksSummary"]
        assert after == {"total": CHUNKS, "completed": CHUNKS}
        for answer in answers.values():
            assert sum(answer["chunksSummary"].get(name, 0) for name in COUNTS[1:]) == CHUNKS

    def test_get_does_not_show_only_id_status_and_percent(self, answers: dict[str, Any]):
        chunks = answers["after"]["chunks"]
        assert [chunk.get("index", 0) for chunk in chunks] == [0, 1, 2, 3]
        assert [chunk["input"]["segment_id"] for chunk in chunks[:-1]] == ["speech-a-0", "speech-a-1", "speech-a-2"]
        assert {chunk["state"] for chunk in chunks} == {"CHUNK_STATE_COMPLETED"}
        pods = {chunk["taskId"] for chunk in chunks}
        assert len(pods) == CHUNKS
        assert all(pod.startswith("runpod-") for pod in pods)
        for chunk in chunks:
            assert RFC3339.fullmatch(chunk["startTime"])
            assert RFC3339.fullmatch(chunk["endTime"])
            assert datetime.fromisoformat(chunk["startTime"]) < datetime.fromisoformat(chunk["endTime"])

    def test_answers_stay_small_for_many_segments(self, caller: JobClient):
        job = caller.create_job("speech.many", chunks=[{"audio": f"many/segment-{n}.wav"} for n in range(2_000)]).job
        assert caller.get_job(job.job_id, view=JobView.BASIC).ByteSize() < 1_000
        assert len(caller.get_job(job.job_id, view=JobView.FULL).chunks) == 1_000, "and the rest in pages"
        assert [chunk.index for chunk in caller.list_chunks(job.job_id, page_size=300)] == list(range(2_000))
        page = caller.list_chunks(job.job_id, states=[ChunkState.PENDING], page_size=50).page()
        assert (len(page.chunks), bool(page.next_page_token)) == (50, True)
        assert page.ByteSize() < 10_000


def test_what_is_not_known_is_absent(answers: dict[str, Any]):
    for chunk in answers["before"]["chunks"]:
        if chunk["state"] == "CHUNK_STATE_PENDING":
            assert not {"startTime", "endTime", "taskId", "error"} & chunk.keys()
    assert not {"resultUri", "endTime", "error"} & answers["before"].keys()
    assert not any("error" in chunk for chunk in answers["after"]["chunks"])


def test_a_failed_attempt_is_reported_and_went_again(answers: dict[str, Any], caller: JobClient):
    assert answers["after"]["chunks"][1]["attempt"] == 2
    failed, last = caller.list_attempts("speech-a", chunk_index=1)
    assert (failed.outcome, failed.error.code, failed.error.message) == (
        AttemptOutcome.FAILED,
        "MemoryError",
        "CUDA out of memory",
    )
    assert (last.outcome, failed.task_id != last.task_id) == (AttemptOutcome.COMPLETED, True)


def test_the_video_is_there_and_whole(answers: dict[str, Any], folder: Path):
    assert frames_in(read(answers["after"]["resultUri"])) == len(loudness(load(folder / "speech.wav")))


def test_no_local_path_leaves(answers: dict[str, Any], folder: Path):
    assert_no_local_paths(answers, folder)


def test_a_job_has_no_field_for_binary_content():
    reached, left = set[str](), [Job.DESCRIPTOR]
    while left:
        message = left.pop()
        reached.add(message.full_name)
        assert not [field.full_name for field in message.fields if field.type == field.TYPE_BYTES]
        parts = (field.message_type for field in message.fields if field.message_type)
        left += [part for part in parts if part.full_name not in reached]
    assert reached >= {"jobledger.v1.Chunk", "jobledger.v1.Artifact", "google.protobuf.Struct"}


@pytest.fixture(scope="module")
def mixed(caller: JobClient) -> dict[str, Any]:
    """Return what GetJob answers while one segment waits, one is rendered, one is done and one has failed for good."""
    job_id = caller.create_job("speech.mixed", chunks=[{"segment_id": f"s-{n}"} for n in range(4)]).job.job_id
    leases = [
        caller.leases.claim_chunk(job_id, index, worker="runpod", task_id=f"runpod-{index}").lease.token
        for index in range(3)
    ]
    caller.leases.complete_chunks([leases[0]])
    error = WorkError(code="CUDA_ERROR", message="out of memory")
    caller.leases.fail_chunks([ChunkFailure(lease_token=leases[1], error=error, not_retryable=True)])
    return answer_of(caller.get_job(job_id, view=JobView.FULL))


def test_one_get_counts_segments_in_every_state(mixed: dict[str, Any]):
    assert mixed["chunksSummary"] == {"total": 4, "pending": 1, "processing": 1, "completed": 1, "failed": 1}
    states = [chunk["state"].removeprefix("CHUNK_STATE_") for chunk in mixed["chunks"]]
    assert states == ["COMPLETED", "FAILED", "PROCESSING", "PENDING"]


def test_a_segment_has_what_is_known_of_it_and_nothing_else(mixed: dict[str, Any]):
    known = {"taskId", "error", "startTime", "endTime"}
    reported = [chunk.keys() & known for chunk in mixed["chunks"]]
    assert reported == [{"taskId", "startTime", "endTime"}, known, {"taskId", "startTime"}, set()]
    failed = mixed["chunks"][1]
    assert failed["taskId"] == "runpod-1"
    assert (failed["error"]["code"], failed["error"]["message"]) == ("CUDA_ERROR", "out of memory")
    for chunk in mixed["chunks"]:
        assert all(RFC3339.fullmatch(chunk[name]) for name in ("startTime", "endTime") if name in chunk)


@pytest.mark.parametrize(
    "uri", ["/srv/out/segment-0.mp4", "segment-0.mp4", "file:///srv/out/segment-0.mp4", "data:video/mp4;base64,AAAA"]
)
def test_local_paths_and_content_are_refused(caller: JobClient, uri: str):
    caller.create_job("speech.path")
    [claimed] = caller.leases.claim_chunks(["speech.path"], worker="runpod")
    completion = ChunkCompletion(lease_token=claimed.lease.token, progress={"artifacts": {"video": Artifact(uri=uri)}})
    [result] = caller.leases.complete_chunks([completion])
    assert_entry_refused(result.error, 'progress.artifacts["video"].uri')


def test_there_is_always_a_segment(caller: JobClient):
    assert caller.create_job("speech.empty").job.chunks_summary.total == 1


@given(st.lists(st.floats(0, 1), max_size=120))
def test_the_segments_cover_the_sound_and_there_is_at_least_one(levels: list[float]):
    segments = cut(levels)
    assert segments[0].start == 0
    assert segments[-1].end == len(levels)
    assert [one.end for one in segments[:-1]] == [one.start for one in segments[1:]]


def test_cuts_are_behind_the_pauses():
    assert cut([]) == [Segment(0, 0)]
    assert cut([1.0] * 5 + [0.0] * 9 + [1.0] * 5) == [Segment(0, 13), Segment(13, 19)]
