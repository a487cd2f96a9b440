"""D: weighted progress, live, and all outputs in one answer; a cancelled job's run is stopped."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import InvalidFieldError, JobClient, JobNotFoundError

from examples.bucket import Bucket, read
from examples.transcoding import ffmpeg, media, plain
from examples.transcoding.__main__ import cancel_midway, start
from examples.transcoding.submit import KIND, PLAN, submit
from examples.transcoding.tasks import tools
from tests.examples.answers import RFC3339, answer_of, assert_no_local_paths
from tests.support.server import Server
from tests.support.states import CANCELLED, FAILED

SECONDS = 1.0
BOUND = 30.0
TRANSCRIPTS = [f"transcript.{extension}" for extension in ("json", "srt", "txt", "vtt")]


@pytest.fixture(scope="module")
def files(server: Server, stack: ExitStack, folder: Path) -> Bucket:
    one = start(stack, server.target, folder)
    media.make(one.path("uploads/clip.y4m"), SECONDS)
    return one


@pytest.fixture(scope="module")
def seen(caller: JobClient, files: Bucket) -> list[Job]:
    """Return the job of each message of a watch, to its end."""
    job = submit(caller, files, "uploads/clip.y4m", metadata={"album": "2026"})
    return [message.job for message in caller.watch(job.job_id, mode="EVERY")]


@pytest.fixture(scope="module")
def answer(caller: JobClient, seen: list[Job]) -> dict[str, Any]:
    return answer_of(caller.get_job(seen[-1].job_id))


def test_the_overall_percent_is_that_of_the_weights(seen: list[Job]):
    told = [job.progress for job in seen if job.progress.stage]
    before = dict(zip(PLAN, [0, 5, 10, 15, 40, 65, 75, 90, 95], strict=True))
    assert [one.percent for one in told] == sorted(one.percent for one in told)
    for one in told[:-1]:
        assert one.percent == pytest.approx(before[one.stage] + PLAN[one.stage] * one.stage_percent / 100, abs=0.001)
    assert list(dict.fromkeys(one.stage for one in told)) == list(PLAN), "live, one task after another"
    assert any(0 < one.stage_percent < 100 for one in told)
    assert told[-1].percent == 100


def test_the_source_is_told(answer: dict[str, Any], files: Bucket):
    source = answer["input"]
    assert (answer["displayName"], source["resolution"], source["codec"]) == ("clip.y4m", "1280x720", "rawvideo")
    assert (source["size_bytes"], source["duration_seconds"]) == (files.size("uploads/clip.y4m"), SECONDS)
    assert len(source["sha256"]) == 64
    assert answer["labels"] == {"album": "2026"}


def test_every_output_is_there_with_its_size_and_ratio(answer: dict[str, Any], files: Bucket, folder: Path):
    artifacts = answer["artifacts"]
    assert sorted(artifacts) == sorted(["thumbnail", "360p", "720p", "audio", "hls_360p", "hls_720p", *TRANSCRIPTS])
    for artifact in artifacts.values():
        content = read(artifact["uri"])
        assert len(content) == int(artifact["sizeBytes"])
        assert artifact["metadata"]["compression_ratio"] == round(answer["input"]["size_bytes"] / len(content), 2)
        assert RFC3339.fullmatch(artifact["createTime"])
    said = {key: artifacts["transcript.srt"]["metadata"][key] for key in ("language", "word_count", "model")}
    assert said == {"language": "en", "word_count": 1, "model": "zero-crossings-1"}
    assert artifacts["hls_720p"]["metadata"]["segments"] == 1
    assert b"720p.m3u8" in read(answer["resultUri"])
    assert_no_local_paths({"artifacts": artifacts, "result": answer["resultUri"]}, folder)


def test_seconds_per_task_and_in_total(answer: dict[str, Any]):
    timings = {one["stage"]: float(one["duration"].removesuffix("s")) for one in answer["stageTimings"]}
    assert list(timings) == list(PLAN)
    assert all(seconds > 0 for seconds in timings.values())
    began, ended = (datetime.fromisoformat(answer[name]) for name in ("startTime", "endTime"))
    assert sum(timings.values()) <= (ended - began).total_seconds() + 0.001


def test_a_wrong_file_fails_once_with_its_task(caller: JobClient, files: Bucket):
    files.put("uploads/letter.y4m", b"Dear Sir or Madam,")
    job = caller.wait(submit(caller, files, "uploads/letter.y4m").job_id, timeout=BOUND)
    assert (job.state, job.error.code, job.error.stage) == (FAILED, "BadUploadError", "validate")
    assert "letter.y4m is not a Y4M video" in job.error.message
    assert caller.get_job(job.job_id).chunks[0].attempt == 1


def test_a_cancelled_job_does_not_go_on_running_and_may_run_again(caller: JobClient, files: Bucket):
    media.make(files.path("uploads/long.y4m"), 6)
    job = cancel_midway(caller, submit(caller, files, "uploads/long.y4m"))
    assert (job.state, job.cancel_reason) == (CANCELLED, "the wrong file")
    assert job.progress.percent < 65, "long before its end, and before an hour of grace"
    media.make(files.path("uploads/long.y4m"), SECONDS)
    caller.retry_job(job.job_id)
    job = caller.wait(job.job_id, timeout=BOUND)
    assert (job.state, job.retry_count, job.error.stage) == (FAILED, 1, "upload"), "the file is another one now"


def test_lists_by_state_priority_dates_and_name(caller: JobClient, files: Bucket, seen: list[Job]):
    kind = "video.shelf"
    for number in range(120):
        caller.create_job(kind, display_name=f"clip {number}.mp4", priority=number % 11)
    page = caller.list_jobs(kinds=[kind], states=["QUEUED"], page_size=100).page()
    assert (len(page.jobs), page.total_size, bool(page.next_page_token)) == (100, 120, True)
    assert len(list(caller.list_jobs(kinds=[kind], min_priority=10))) == 10
    today = (datetime.now(tz=UTC) - timedelta(hours=1), datetime.now(tz=UTC) + timedelta(hours=1))
    assert [job.job_id for job in caller.list_jobs(kinds=[KIND], states=["COMPLETED"], end_time=today)] == [
        seen[-1].job_id
    ]
    assert caller.list_jobs(kinds=[kind], ascending=True).page().jobs[0].display_name == "clip 0.mp4"
    some = [job.job_id for job in page.jobs[:3]]
    batch = caller.batch_get_jobs([*some, "gone"], view="BASIC")
    assert ([job.job_id for job in batch.jobs], list(batch.missing_job_ids)) == (some, ["gone"])


def test_priority_changes_and_deletion(caller: JobClient):
    job = caller.create_job("video.shelf.two").job
    assert caller.update_job(job.job_id, priority=10).priority == 10
    with pytest.raises(InvalidFieldError):
        caller.update_job(job.job_id, priority=11)
    caller.delete_job(job.job_id, force=True)
    with pytest.raises(JobNotFoundError):
        caller.get_job(job.job_id)


def test_the_example_says_which_tools_it_has(answer: dict[str, Any]):
    assert tools in (plain, ffmpeg)
    assert answer["artifacts"]["audio"]["contentType"] == tools.TYPES["audio"]
    assert answer["state"] == "JOB_STATE_COMPLETED"
