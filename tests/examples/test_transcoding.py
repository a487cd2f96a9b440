"""D: weighted progress, live, and all outputs in one answer; a cancelled job's run is stopped, and nothing is lost."""

import csv
import io
import json
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import (
    EngineTask,
    ExportFormat,
    JobClient,
    JobNotFoundError,
    JobView,
    RateLimitedError,
    Role,
    RoleMissingError,
    WatchMode,
    WebhookDeliveryState,
)

from examples.bucket import Bucket, read
from examples.transcoding import console, media
from examples.transcoding.__main__ import GRACE, cancel_midway
from examples.transcoding.hooks import PERCENTS, Inbox
from examples.transcoding.studio import READS, Studio, start
from examples.transcoding.submit import KIND, PLAN, submit
from examples.transcoding.tasks import tools
from tests.examples.answers import RFC3339, answer_of, assert_no_local_paths
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.constants import environment_of_examples
from tests.support.states import CANCELLED, COMPLETED, FAILED

pytestmark = [
    pytest.mark.long,  # a whole example runs
    pytest.mark.one_store("the examples see messages, not the store"),
]

SECONDS = 1.0
TRANSCRIPTS = [f"transcript.{extension}" for extension in ("json", "srt", "txt", "vtt")]
HLS = ["hls", "hls_360p", "hls_360p_segments", "hls_720p", "hls_720p_segments"]
EVENTS = ["job.progress"] * len(PERCENTS) + ["job.completed"]
AWAY = 3
CONSTANTS = {
    "RECORD_SECONDS": "0.1", "INITIAL_BACKOFF_SECONDS": "0.05",
    "SLOW_READ_SECONDS": str(BOUND), "COMMIT_STALL_SECONDS": str(BOUND),
}  # fmt: skip


class Gone(NamedTuple):
    """A job that was deleted: the figures and all jobs just before, and the job that deleted its files."""

    figures: console.Figures
    rows: list[dict[str, Any]]
    deletion: Job


@pytest.fixture(scope="module")
def studio(stack: ExitStack, folder: Path) -> Studio:
    site = folder / "site"
    site.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of_examples(CONSTANTS, site).items():
            patch.setenv(name, value)
        one = start(stack, folder)
    media.make(one.files.path("uploads/clip.y4m"), SECONDS)
    return one


def with_key(stack: ExitStack, studio: Studio, name: str, roles: list[Role], owner: str = "") -> tuple[JobClient, str]:
    """Return a client with a new key, and the key's id."""
    key = studio.operator.admin.create_api_key(name, roles, owner=owner)
    return stack.enter_context(JobClient(studio.target, api_key=key.token)), key.api_key.key_id


@pytest.fixture(scope="module")
def files(studio: Studio) -> Bucket:
    return studio.files


@pytest.fixture(scope="module")
def caller(studio: Studio) -> JobClient:
    """Return the client of the studio, which owns the jobs."""
    return studio.client


@pytest.fixture(scope="module")
def seen(studio: Studio) -> list[Job]:
    """Return the job of each message of a watch, to its end; the receiver of webhooks turned the first ones away."""
    studio.inbox.outages = AWAY
    job = submit(studio.client, studio.files, "uploads/clip.y4m", metadata={"album": "2026"})
    return [message.job for message in studio.client.watch(job.job_id, mode=WatchMode.EVERY, timeout=CALL_TIMEOUT)]


@pytest.fixture(scope="module")
def answer(caller: JobClient, seen: list[Job]) -> dict[str, Any]:
    return answer_of(caller.get_job(seen[-1].job_id, view=JobView.FULL))


@pytest.fixture(scope="module")
def cancelled(studio: Studio, seen: list[Job]) -> tuple[Job, list[str]]:
    """Return a job that was cancelled on its way, and the engine's runs at that moment."""
    assert seen, "after that one"
    media.make(studio.files.path("uploads/long.y4m"), 6)

    def cancel(job_id: str) -> None:
        studio.client.cancel_job(job_id, reason="the wrong file", grace_period=GRACE)

    job = cancel_midway(studio.client, submit(studio.client, studio.files, "uploads/long.y4m"), cancel)
    return job, studio.airflow.running()


class TestTroubleToday:
    """What the team could not do before, line by line."""

    def test_the_overall_percent_is_that_of_the_weights(self, seen: list[Job]):
        reported = [job.progress for job in seen if job.progress.stage]
        before = dict(zip(PLAN, [0, 5, 10, 15, 40, 65, 75, 90, 95], strict=True))
        assert [one.percent for one in reported] == sorted(one.percent for one in reported)
        for one in reported[:-1]:
            assert one.percent == pytest.approx(
                before[one.stage] + PLAN[one.stage] * one.stage_percent / 100, abs=0.001
            )
        assert list(dict.fromkeys(one.stage for one in reported)) == list(PLAN), "live, one task after another"
        for task in PLAN:
            percents = [one.stage_percent for one in reported if one.stage == task]
            assert percents == sorted(percents), "of a task too"
        assert any(0 < one.stage_percent < 100 for one in reported)
        assert reported[-1].percent == 100

    def test_a_signature_is_over_the_body_as_it_came(self, studio: Studio, seen: list[Job]):
        studio.inbox.wait(seen[-1].job_id, "job.completed", BOUND)
        headers, body = studio.inbox.attempts[0]
        inbox = Inbox("")
        inbox.secret = studio.inbox.secret
        same = json.dumps(json.loads(body), sort_keys=True).encode()
        assert (same != body, json.loads(same)) == (True, json.loads(body))
        assert inbox.take(headers, same) == 401, "the same to a JSON parser is not the same"
        assert inbox.take(headers, body.replace(b"job.progress", b"job.completed")) == 401
        assert inbox.take(headers | {"webhook-signature": "v1,bm8="}, body) == 401
        assert inbox.take(headers, body) == 204

    def test_a_failed_webhook_is_not_lost(self, studio: Studio, seen: list[Job]):
        job_id = seen[-1].job_id
        studio.inbox.wait(job_id, "job.completed", BOUND)
        assert studio.inbox.of(job_id) == EVENTS, "each once, in their order"
        reported = [event["percents"] for event in studio.inbox.events.values() if event["type"] == "job.progress"]
        assert reported == [[percent] for percent in PERCENTS]
        names = [headers["webhook-id"] for headers, body in studio.inbox.attempts if job_id.encode() in body]
        assert names[: AWAY + 1] == names[:1] * (AWAY + 1), "it came again under its name, until it was taken"
        [webhook] = studio.client.webhooks.list_webhooks()
        [*_, first] = studio.client.webhooks.list_webhook_deliveries(
            webhook.webhook_id, states=[WebhookDeliveryState.DELIVERED]
        )
        assert [attempt.status_code for attempt in first.attempts] == [503] * AWAY + [204]
        count = studio.client.webhooks.redeliver_webhook(webhook.webhook_id, since_position=0)
        assert count >= len(EVENTS), "and all of them on demand"

    def test_statistics_outlive_the_jobs_that_they_count(self, studio: Studio, gone: Gone):
        before, after = gone.figures, console.figures(studio.client)
        assert after.by_state["completed"] == before.by_state["completed"] - 1
        counted = ("success_rate", "processing_hours", "average_seconds", "efficiency")
        for name in counted:
            assert getattr(after, name) == getattr(before, name), "a sum, in which a job stays that is deleted"

    def test_a_cancelled_job_does_not_continue_running(self, cancelled: tuple[Job, list[str]]):
        job, running = cancelled
        assert (job.state, job.cancel_reason, running) == (CANCELLED, "the wrong file", [])
        assert job.progress.percent < 65, "long before its end, and before an hour of grace"


def test_the_source_is_reported(answer: dict[str, Any], files: Bucket):
    source = answer["input"]
    assert (answer["displayName"], source["resolution"], source["codec"]) == ("clip.y4m", "1280x720", "rawvideo")
    assert (source["size_bytes"], source["duration_seconds"]) == (files.size("uploads/clip.y4m"), SECONDS)
    assert len(source["sha256"]) == 64
    assert answer["labels"] == {"album": "2026"}


def test_the_present_task_is_reported_in_words(seen: list[Job]):
    assert {job.progress.message for job in seen} >= {f"{task} of clip.y4m" for task in PLAN}


def test_the_expected_end_is_reported_once_a_run_is_a_second_old_and_not_before(stack: ExitStack, studio: Studio):
    client, _ = with_key(stack, studio, "slow", [Role.CALLER, Role.WORKER], studio.key.api_key.owner)
    job = client.create_job("video.slow", stages=PLAN).job
    task, percent = EngineTask(client, job.job_id, task_id="dag-run-1", worker="airflow"), 0.0
    task.begin()
    with client.watch(job.job_id, timeout=CALL_TIMEOUT) as messages:
        while not (job := next(messages).job).progress.HasField("eta"):
            percent += 0.01
            task.progress(stage="transcode_360p", stage_percent=percent)
    assert job.update_time.ToNanoseconds() >= job.start_time.ToNanoseconds() + 10**9
    assert job.progress.eta.ToNanoseconds() > job.update_time.ToNanoseconds()


def test_every_output_is_there_with_its_size_and_ratio(answer: dict[str, Any], files: Bucket, folder: Path):
    artifacts = answer["artifacts"]
    videos = ["source", "source_sound", "thumbnail", "360p", "720p", "audio"]
    assert sorted(artifacts) == sorted([*videos, *HLS, *TRANSCRIPTS])
    for artifact in artifacts.values():
        content = read(artifact["uri"])
        assert len(content) == int(artifact["sizeBytes"])
        assert artifact["metadata"]["compression_ratio"] == round(answer["input"]["size_bytes"] / len(content), 2)
        assert RFC3339.fullmatch(artifact["createTime"])
    for name in TRANSCRIPTS:
        result = {key: artifacts[name]["metadata"][key] for key in ("language", "word_count", "model")}
        assert result == {"language": "en", "word_count": 1, "model": "zero-crossings-1"}
    types = [artifacts[name]["contentType"] for name in TRANSCRIPTS]
    assert types == ["application/json", "application/x-subrip", "text/plain", "text/vtt"]
    for height in (360, 720):
        assert artifacts[f"hls_{height}p"]["metadata"]["segments"] == 1
        length = artifacts[f"hls_{height}p_segments"]["sizeBytes"]
        assert f"#EXT-X-BYTERANGE:{length}@0" in read(artifacts[f"hls_{height}p"]["uri"]).decode()
    assert b"720p.m3u8" in read(answer["resultUri"])
    assert_no_local_paths({"artifacts": artifacts, "result": answer["resultUri"]}, folder)


def test_seconds_per_task_and_in_total(answer: dict[str, Any]):
    timings = {one["stage"]: float(one["duration"].removesuffix("s")) for one in answer["stageTimings"]}
    assert list(timings) == list(PLAN)
    assert all(seconds > 0 for seconds in timings.values())
    began, ended = (datetime.fromisoformat(answer[name]) for name in ("startTime", "endTime"))
    assert sum(timings.values()) <= (ended - began).total_seconds() + 0.001


def test_a_wrong_file_fails_once_with_its_task(studio: Studio, files: Bucket):
    files.put("uploads/letter.y4m", b"Dear Sir or Madam,")
    job = studio.client.wait(submit(studio.client, files, "uploads/letter.y4m").job_id, timeout=CALL_TIMEOUT)
    assert (job.state, job.error.code, job.error.stage) == (FAILED, "BadUploadError", "validate")
    assert "letter.y4m is not a Y4M video" in job.error.message
    assert studio.client.get_job(job.job_id, view=JobView.FULL).chunks[0].attempt == 1
    reported = studio.inbox.wait(job.job_id, "job.failed", BOUND)["data"]
    assert (reported["error"]["stage"], reported["error"]["message"]) == ("validate", job.error.message)


def test_an_upload_that_is_submitted_twice_is_one_job(studio: Studio, files: Bucket):
    media.make(files.path("uploads/twice.y4m"), 3)
    first, second = (submit(studio.client, files, "uploads/twice.y4m") for _ in range(2))
    assert second.job_id == first.job_id
    studio.client.cancel_job(first.job_id, force=True)
    assert submit(studio.client, files, "uploads/twice.y4m").job_id != first.job_id, "it has ended"


def test_a_cancelled_job_may_run_again(cancelled: tuple[Job, list[str]], caller: JobClient, files: Bucket):
    job, _ = cancelled
    media.make(files.path("uploads/long.y4m"), SECONDS)
    caller.retry_job(job.job_id)
    job = caller.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (job.state, job.retry_count, job.error.stage) == (FAILED, 1, "upload"), "the file is another one now"


def rows_of(caller: JobClient) -> list[dict[str, Any]]:
    """Return all jobs of the kind, from an export as JSON Lines."""
    return [json.loads(line) for line in console.export(caller, ExportFormat.JSON_LINES).splitlines()]


def test_statistics_are_what_the_export_adds_up_to(gone: Gone):
    figures, rows = gone.figures, gone.rows
    states = [row["state"].lower() for row in rows]
    assert figures.by_state == {state: states.count(state) for state in figures.by_state}
    done, failed = states.count("completed"), states.count("failed")
    assert figures.success_rate == pytest.approx(done / (done + failed))
    processing = sum(row["processing_seconds"] or 0 for row in rows)
    assert 3600 * figures.processing_hours >= processing - 0.001, "a job that ran twice counts with both"
    media_seconds = sum(row["items_total"] for row in rows if row["state"] == "COMPLETED")
    assert figures.efficiency == pytest.approx(media_seconds / (3600 * figures.processing_hours))


@pytest.mark.usefixtures("seen")
def test_exports_as_csv_and_json_agree(caller: JobClient):
    table = list(csv.DictReader(io.StringIO(console.export(caller, ExportFormat.CSV).decode())))
    rows = rows_of(caller)
    assert [row["display_name"] for row in table] == [row["display_name"] for row in rows]
    assert [row["label.album"] for row in table if row["display_name"] == "clip.y4m"][:1] == ["2026"]
    assert all(float(row["processing_seconds"]) > 0 for row in table if row["state"] == "COMPLETED")


@pytest.fixture(scope="module")
def gone(studio: Studio, cancelled: tuple[Job, list[str]]) -> Gone:
    """Complete a job and delete it with its files."""
    assert cancelled, "after that one"
    media.make(studio.files.path("uploads/brief.y4m"), SECONDS)
    job = studio.client.wait(submit(studio.client, studio.files, "uploads/brief.y4m").job_id, timeout=CALL_TIMEOUT)
    assert list(studio.files.path(job.job_id).iterdir())
    figures, rows = console.figures(studio.client), rows_of(studio.client)
    deletion = console.delete(studio.client, job.job_id)
    return Gone(figures, rows, studio.client.wait(deletion.job_id, timeout=CALL_TIMEOUT))


def test_a_job_is_deleted_with_all_its_files(studio: Studio, gone: Gone):
    job_id = gone.deletion.labels["jobledger.deleted-job"]
    assert gone.deletion.state == COMPLETED
    with pytest.raises(JobNotFoundError):
        studio.client.get_job(job_id)
    assert list(studio.files.path(job_id).iterdir()) == []
    assert not studio.files.path("uploads/brief.y4m").exists()
    assert studio.files.path("uploads/clip.y4m").exists(), "and nothing else"


def test_a_job_that_was_cancelled_leaves_nothing_half_written(studio: Studio, cancelled: tuple[Job, list[str]]):
    job = studio.client.get_job(cancelled[0].job_id)
    kept = {artifact.uri.rpartition("/")[2] for artifact in job.artifacts.values()}
    assert {path.name for path in studio.files.path(job.job_id).iterdir()} <= kept


def test_only_the_key_that_owns_a_job_may_see_it(studio: Studio, seen: list[Job]):
    job_id, rival = seen[-1].job_id, studio.rival
    for ask in (rival.get_job, rival.cancel_job, rival.delete_job):
        with pytest.raises(JobNotFoundError):
            ask(job_id)
    with pytest.raises(JobNotFoundError):
        rival.list_events(job_id).page()
    assert list(rival.list_jobs()) == []
    assert list(rival.webhooks.list_webhooks()) == []
    assert rival.statistics.get_job_stats(kinds=[KIND]).total.activity.completed == 0
    assert b"".join(rival.exports.export_jobs(ExportFormat.JSON_LINES)) == b""


def test_usage_is_reported_for_each_key(stack: ExitStack, studio: Studio, seen: list[Job]):
    page, key_id = with_key(stack, studio, "page", [Role.CALLER], studio.key.api_key.owner)
    auditor, _ = with_key(stack, studio, "auditor", [Role.ADMIN])
    for _ in range(3):
        page.get_job(seen[-1].job_id)
    with pytest.raises(RoleMissingError):
        list(page.admin.get_usage())
    while (used := console.usage(auditor, key_id)) != {"GetJob": 3, "GetUsage": 1}:
        assert used.get("GetJob", 0) <= 3


def test_a_key_reads_as_often_as_it_may(stack: ExitStack, studio: Studio):
    eager, _ = with_key(stack, studio, "eager", [Role.CALLER], "rival")
    for _ in range(READS):
        eager.batch_get_jobs(["none"], view=JobView.STATUS)
    with pytest.raises(RateLimitedError) as refused:
        eager.batch_get_jobs(["none"], timeout=timedelta(seconds=20))
    assert refused.value.retry_after is not None
    assert studio.client.list_jobs(page_size=1).page().jobs, "others go on"


@pytest.mark.usefixtures("seen")
def test_the_console_shows_the_health_of_the_service_beside_its_own_engine_and_bucket(studio: Studio, files: Bucket):
    files.put("uploads/note.y4m", b"Dear Sir or Madam,")  # a job that the engine has just worked on
    studio.client.wait(submit(studio.client, files, "uploads/note.y4m").job_id, timeout=CALL_TIMEOUT)
    reported = console.health(studio)
    assert reported["jobledger"] == "HEALTHY"
    assert min(reported["database_latency_ms"], reported["disk_free_bytes"]) > 0, "which the service measures"
    assert reported["workers"] >= 1, "the engine has reported within a minute"
    assert reported["bucket_free_bytes"] > 0, "which the console measures itself"
    with pytest.raises(RoleMissingError):
        studio.client.admin.get_system_health()


def test_a_job_is_completed_with_the_tools_that_there_are(answer: dict[str, Any]):
    types = [answer["artifacts"][name]["contentType"] for name in ("360p", "720p", "audio")]
    assert types == [tools.TYPES[name] for name in ("video", "video", "audio")]
    assert answer["state"] == "JOB_STATE_COMPLETED"
