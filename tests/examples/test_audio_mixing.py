"""E: a few mixes at once; one poll has state, percent, message and the result's URL; nothing dies with a process."""

from contextlib import ExitStack
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given, settings
from hypothesis import strategies as st
from jobledger.v1 import job_service_pb2, worker_service_pb2
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.worker_service_pb2 import ChunkFailure, HeartbeatRequest, HeartbeatResult, LeaseReport, ProgressReport
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobledger_client import (
    JobClient,
    JobledgerError,
    JobNotFoundError,
    JobView,
    LeaseStatus,
    WatchMessageType,
    WatchMode,
)

from examples.audio_mixing.__main__ import in_work, make_stems, start
from examples.audio_mixing.mix import HEADROOM, LOUDEST, aligned, load, mastered, mixed
from examples.audio_mixing.page import Shown, shown
from examples.audio_mixing.submit import AT_ONCE, KIND, STAGES, limit, submit
from examples.bucket import Bucket, read
from tests.conftest import StartServer
from tests.examples.answers import answer_of, assert_no_local_paths
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.errors import assert_entry_refused
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

SONGS = ["overture", "ballad", "march", "waltz", "fugue"]
JOB_SERVICE = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKER_SERVICE = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
DELETED = WatchMessageType.DELETED


class Claimed(NamedTuple):
    """A mix that is in work at this desk."""

    client: JobClient
    job_id: str
    token: str

    @classmethod
    def of(cls, client: JobClient, kind: str) -> "Claimed":
        client.create_job(kind, stages=STAGES)
        [claimed] = client.leases.claim_chunks([kind], worker="desk", lease_duration=timedelta(hours=1))
        return cls(client, claimed.job_id, claimed.lease.token)

    def report(self, **progress: Any) -> HeartbeatResult:
        report = LeaseReport(lease_token=self.token, progress=ProgressReport(**progress))
        return self.client.leases.heartbeat([report])[0]

    def refused(self, **progress: Any) -> list[str]:
        """Return the fields for which a report is refused."""
        result = self.report(**progress)
        assert result.status == LeaseStatus.REFUSED
        return [violation.field for violation in result.error.field_violations]


class Played(NamedTuple):
    """Mixes that have ended, how many were in work at once, and a cursor from before all of them."""

    jobs: list[str]
    at_once: int
    cursor: bytes


@pytest.fixture(scope="module")
def wrong(caller: JobClient) -> Claimed:
    """Return a mix for reports that are refused."""
    return Claimed.of(caller, "audio.mix.checked")


@pytest.fixture(scope="module")
def files(server: Server, stack: ExitStack, folder: Path) -> Bucket:
    return start(stack, server.target, folder)


@pytest.fixture(scope="module")
def played(caller: JobClient, files: Bucket) -> Played:
    """Let five songs be mixed to their end."""
    cursor = caller.list_jobs(page_size=1).page().cursor
    limit(caller)
    jobs = [submit(caller, song, make_stems(files, song, 0.5)).job_id for song in SONGS]
    return Played(jobs, max(in_work(caller, cursor, len(jobs))), cursor)


def test_no_more_than_two_are_mixed_at_once(played: Played):
    assert 1 <= played.at_once <= AT_ONCE


class TestTroubleToday:
    """What the team could not do before, line by line."""

    def test_a_phase_is_one_of_the_plan_and_not_any_string(self, caller: JobClient, wrong: Claimed):
        assert wrong.refused(stage="ready") == ["progress.stage"]
        page = shown(caller.get_job(wrong.job_id))
        assert (page["state"], page["stage"]) == ("running", "")

    def test_the_state_of_a_mix_is_queued_then_running_then_completed(self, played: Played, caller: JobClient):
        states: dict[str, list[str]] = {job_id: [] for job_id in played.jobs}
        messages = caller.watch_jobs(
            job_ids=played.jobs, cursor=played.cursor, mode=WatchMode.EVERY, timeout=CALL_TIMEOUT
        )
        with messages:
            while any("completed" not in seen for seen in states.values()):
                job = next(messages).job
                states[job.job_id].append(shown(job)["state"])
        for seen in states.values():
            assert [state for state, _ in groupby(seen)] == ["queued", "running", "completed"]

    @pytest.mark.parametrize("percent", [float("nan"), float("inf")])
    def test_a_percent_that_is_no_number_is_not_even_sent(self, wrong: Claimed, percent: float):
        with pytest.raises(ValueError, match=r"progress\.percent: must be a finite number"):
            wrong.report(percent=percent)

    @pytest.mark.parametrize("percent", [float("nan"), float("inf"), float("-inf")])
    def test_the_server_refuses_a_percent_that_is_no_number(
        self, server: Server, caller: JobClient, wrong: Claimed, percent: float
    ):
        report = LeaseReport(lease_token=wrong.token, progress=ProgressReport(percent=percent))
        with grpc.insecure_channel(server.target) as channel:
            request = HeartbeatRequest(reports=[report])
            [result] = WorkerServiceStub(channel).Heartbeat(request, timeout=BOUND).results
        assert_entry_refused(result.error, "progress.percent")
        assert caller.get_job(wrong.job_id).progress.percent == 0

    @pytest.mark.parametrize("percent", [140, -1])
    def test_a_percent_is_checked(self, caller: JobClient, wrong: Claimed, percent: float):
        assert wrong.refused(percent=percent) == ["progress.percent"]
        assert wrong.refused(stage_percent=percent) == ["progress.stage_percent"]
        assert caller.get_job(wrong.job_id).progress.percent == 0

    def test_a_percent_does_not_fall(self, caller: JobClient):
        claimed = Claimed.of(caller, "audio.mix.falling")
        reported = []
        for percent in (60, 40, 80):
            claimed.report(percent=percent)
            reported.append(shown(caller.get_job(claimed.job_id))["percent"])
        assert reported == [60, 60, 80]
        claimed.report(stage="mixing", message="12 stems")
        page = shown(caller.get_job(claimed.job_id))
        assert (page["state"], page["stage"], page["message"]) == ("running", "mixing", "12 stems")

    def test_the_result_is_in_the_same_answer(self, played: Played, caller: JobClient, folder: Path):
        job_id = played.jobs[0]
        page = shown(caller.get_job(job_id, view=JobView.BASIC))
        assert (page["state"], page["percent"], page["error"]) == ("completed", 100, None)
        assert page["result_url"] is not None
        assert read(page["result_url"])[:4] == b"RIFF"
        assert_no_local_paths(page, folder)
        samples = load(folder / "bucket" / job_id / "overture.wav")
        assert max(map(abs, samples)) == int(LOUDEST * HEADROOM)

    def test_errors_have_one_shape(self, caller: JobClient):
        calls = [
            lambda: caller.get_job("nothing"),
            lambda: caller.create_job("audio.mix", priority=11),
            lambda: caller.list_jobs(page_token="x").page(),
            lambda: caller.leases.claim_chunk("nothing", 0, worker="desk"),
            lambda: caller.retry_job(caller.create_job("audio.mix.shape").job.job_id),
        ]
        reasons = []
        for call in calls:
            with pytest.raises(JobledgerError) as refused:
                call()
            assert refused.value.message
            reasons.append(refused.value.reason)
        assert {f"ERROR_REASON_{reason}" for reason in reasons} <= set(ErrorReason.keys())
        assert len(set(reasons)) == 4, "not found is one reason, whoever asks"

    def test_an_error_is_there_exactly_when_it_failed(self, played: Played, caller: JobClient, files: Bucket):
        files.put("stems/broken.wav", b"no sound")
        job = caller.wait(submit(caller, "broken", ["stems/broken.wav"]).job_id, timeout=CALL_TIMEOUT)
        page = shown(job)
        assert (page["state"], page["result_url"]) == ("failed", None)
        assert page["error"] is not None
        assert "a stem cannot be read" in page["error"]
        assert (job.error.code, job.error.stage) == ("BAD_STEM", "loading_stems")
        good = answer_of(caller.get_job(played.jobs[0]))
        assert ("error" in answer_of(job), "error" in good) == (True, False), "present and empty it never is"

    def test_the_page_and_the_server_agree_about_the_path(self, server: Server):
        with grpc.insecure_channel(server.target) as channel:
            served = ProtoReflectionDescriptorDatabase(channel)
            for service in (JOB_SERVICE, WORKER_SERVICE):
                assert service.full_name in served.get_services()
                ours = FileDescriptorProto()
                service.file.CopyToProto(ours)
                assert served.FindFileContainingSymbol(service.full_name) == ours
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/jobledger.v1.JobService/GetStatus")(b"")
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED, "what is not there is said, not 404 or a page"

    def test_a_state_does_not_die_with_its_process_and_errors_may_go_sooner(self, start_server: StartServer):
        server = start_server(completed_retention="3600", failed_retention="0.1")
        with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
            for _ in range(2):
                client.create_job(KIND, stages=STAGES)
            good, bad = client.leases.claim_chunks([KIND], worker="desk", max_chunks=2)
            client.leases.complete_chunks([good.lease.token])
            before = [client.get_job(one.job_id) for one in (good, bad)]
            server.kill()
            server.start()
            assert [client.get_job(one.job_id) for one in (good, bad)] == before
            assert [shown(job)["state"] for job in before] == ["completed", "running"]
            with client.watch_jobs(kinds=[KIND], timeout=CALL_TIMEOUT) as changes:
                next(changes)  # it has begun
                failure = ChunkFailure(
                    lease_token=bad.lease.token, error=WorkError(code="BAD_STEM"), not_retryable=True
                )
                client.leases.fail_chunks([failure])
                assert any(change.type == DELETED and change.job.job_id == bad.job_id for change in changes)
            assert client.get_job(good.job_id).HasField("expire_time")
            with pytest.raises(JobNotFoundError):
                client.get_job(bad.job_id)


def test_the_stages_are_timed_in_the_order_of_the_plan(played: Played, caller: JobClient):
    job = caller.get_job(played.jobs[0])
    timed = [timing.stage for timing in job.stage_timings]
    assert timed, "those that lasted"
    assert timed == sorted(timed, key=STAGES.index)
    assert [stage.name for stage in job.stages] == STAGES


def test_a_mix_that_waits_for_a_slot_is_queued_shows_its_place_and_is_not_claimed(caller: JobClient):
    kind = "audio.mix.elsewhere"
    limit(caller, kind)
    jobs = [caller.create_job(kind, stages=STAGES).job for _ in range(AT_ONCE + 2)]
    pages = [shown(caller.get_job(job.job_id, view=JobView.FULL)) for job in jobs]
    assert [page["place"] for page in pages] == [None, None, 1, 2]
    nothing = Shown(state="queued", stage="", percent=0, message="", place=None, result_url=None, error=None)
    assert pages[0] == nothing
    assert pages[-1] == nothing | {"place": 2}
    first, second = caller.leases.claim_chunks([kind], worker="desk", max_chunks=9)
    assert [first.job_id, second.job_id] == [job.job_id for job in jobs[:2]], "whatever a desk asks for"
    assert not caller.leases.claim_chunks([kind], worker="another", max_chunks=9)
    caller.leases.complete_chunks([second.lease.token])
    [third] = caller.leases.claim_chunks([kind], worker="another", max_chunks=9, wait=timedelta(seconds=BOUND))
    assert third.job_id == jobs[2].job_id, "whose place was 1"


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(-LOUDEST, LOUDEST), min_size=1, max_size=50), min_size=1, max_size=4))
def test_a_mix_is_never_too_loud_and_as_long_as_the_longest(stems: list[list[int]]):
    arrays = [aligned(mastered(stem)) for stem in stems]
    out = mastered(mixed(arrays))
    assert len(out) == max(map(len, arrays))
    assert all(abs(sample) <= LOUDEST for sample in out)
