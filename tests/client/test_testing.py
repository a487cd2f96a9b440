"""What users test their workers with: a context without a server, and a server."""

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from jobledger_client import ChunkContext, JobClient, JobState, RetryPolicy, Stage, Worker
from jobledger_client.testing import FakeContext, running_server
from jobledger_client.testing._context import DEFAULT_SCHEMES
from jobledger_service.core.api.checks import SCHEMES

from tests.support.bounds import BOUND, CALL_TIMEOUT


def handler(ctx: ChunkContext) -> None:
    for stage in "fetch", "resize":
        for done, _ in enumerate(ctx.items, start=1):
            ctx.progress(stage=stage, stage_percent=100 * done / len(ctx.items), message=f"{stage} {done}")
            if ctx.cancelled:
                return
    ctx.artifact("images", uri="s3://bucket/images.zip", content_type="application/zip", metadata={"site": ctx.input})
    ctx.artifact("page", uri="s3://bucket/page.html", job=True)
    ctx.result("s3://bucket/result.json")
    ctx.output, ctx.job_output = {"images": len(ctx.items)}, {"pages": 1}


def test_a_fake_context_records_what_a_handler_reports():
    ctx = FakeContext(input={"site": "example.org"}, items=range(500, 502), stages={"fetch": 3, "resize": 1})
    handler(ctx)
    assert ctx.reported_stages == ["fetch", "resize"]
    assert ctx.reported_messages == ["fetch 1", "fetch 2", "resize 1", "resize 2"]
    assert [report.stage_percent for report in ctx.reports] == [50, 100, 50, 100]
    assert ctx.artifacts["images"].content_type == "application/zip"
    assert list(ctx.job_artifacts) == ["page"]
    assert (ctx.result_uri, ctx.stage, ctx.cancelled) == ("s3://bucket/result.json", "resize", False)
    assert (ctx.output, ctx.job_output) == ({"images": 2}, {"pages": 1})


def test_a_fake_context_is_cancelled_after_so_many_reports():
    ctx = FakeContext(items=range(2), cancel_after=3)
    handler(ctx)
    assert (len(ctx.reports), ctx.cancelled, ctx.artifacts, ctx.result_uri, ctx.output) == (3, True, {}, "", None)


async def test_a_fake_context_is_cancelled_from_another_thread_or_task():
    ctx = FakeContext()
    waiting = [asyncio.create_task(ctx.until_cancelled()), asyncio.create_task(asyncio.to_thread(ctx.wait_cancelled))]
    threading.Thread(target=ctx.cancel).start()
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*waiting)
        await asyncio.to_thread(asyncio.run, ctx.until_cancelled())  # on a loop of its own
    assert ctx.wait_cancelled(timedelta(0))


@pytest.mark.parametrize(
    ("report", "rule"),
    [
        (lambda ctx: ctx.progress(stage="upload"), "stage must be one of fetch, resize"),
        (lambda ctx: ctx.progress(items_completed=3), "items_completed must be within 0 to 2; got 3"),
        (lambda ctx: ctx.progress(percent=101), "percent must be within 0 to 100; got 101"),
        (lambda ctx: ctx.artifact("a", uri="file:///tmp/a"), "uri must have one of the schemes abfs, .* got 'file:"),
        (lambda ctx: ctx.artifact("a", uri="s3://b/k", metadata={"x": "y" * 5_000}), "metadata must have at most 4096"),
        (lambda ctx: ctx.result("/result"), "uri must have a scheme"),
        (lambda ctx: [ctx.artifact(f"a{n}", uri="s3://b/k") for n in range(51)], "a chunk must have at most 50"),
    ],
)
def test_a_fake_context_refuses_what_a_worker_refuses(report: Any, rule: str):
    ctx = FakeContext(items=range(2), stages=[Stage("fetch"), "resize"])
    with pytest.raises(ValueError, match=rule):
        report(ctx)


def test_a_fake_context_allows_the_schemes_that_a_server_allows():
    assert sorted(SCHEMES) == list(DEFAULT_SCHEMES)
    FakeContext(artifact_schemes=["file"]).artifact("a", uri="file:///tmp/a")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(directory=tmp_path_factory.mktemp("running")) as running:
        yield running


async def test_a_worker_runs_against_the_server_of_the_tests(target: str):
    worker = Worker(target, lease_duration=timedelta(seconds=5))
    worker.handler("tests.work")(handler)
    with JobClient(target) as client:
        job = client.create_job("tests.work", item_count=2, max_attempts=1).job
        serving = asyncio.create_task(worker.serve())
        ended = await asyncio.to_thread(client.wait, job.job_id, timeout=CALL_TIMEOUT)
        worker.stop()
        await serving
    assert (ended.state, ended.result_uri) == (JobState.COMPLETED, "s3://bucket/result.json")


def test_a_policy_arrives_whole(target: str):
    with JobClient(target) as client:
        policy = RetryPolicy(max_attempts=5, initial_backoff=timedelta(seconds=2), multiplier=3, jitter=0)
        job = client.create_job("tests.policy", retry_policy=policy, stages=[Stage("a", weight=2.5), "b"]).job
        assert job.retry_policy.initial_backoff.ToTimedelta() == timedelta(seconds=2)
        assert (job.retry_policy.max_attempts, job.retry_policy.multiplier, job.retry_policy.jitter) == (5, 3, 0)
        assert [(stage.name, stage.weight) for stage in job.stages] == [("a", 2.5), ("b", 1)]
        again = client.create_job("tests.policy", retry_policy=job.retry_policy, stages=job.stages).job
        assert (again.retry_policy, list(again.stages)) == (job.retry_policy, list(job.stages))
        assert client.create_job("tests.policy", max_attempts=7).job.retry_policy.max_attempts == 7
        with pytest.raises(ValueError, match="max_attempts and retry_policy exclude each other"):
            client.create_job("tests.policy", max_attempts=7, retry_policy=policy)


@pytest.mark.parametrize("call", [lambda c: c.get_job("x", timeout=5), lambda c: c.watch("x", reconnect_timeout=5)])
def test_a_number_is_no_timeout(call: Any):
    with JobClient("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match=r"must be a timedelta, such as timedelta\(seconds=30\); got 5"):
            call(client)
        with pytest.raises(TypeError, match="must be a timedelta"):
            Worker(cancel_grace=5)


@pytest.mark.slow
def test_a_server_that_does_not_start_reports_why():
    with pytest.raises(RuntimeError, match="unknown-option"), running_server("--unknown-option"):
        pass


def test_without_the_service_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="pip install jobledger-service"), running_server():
        pass


def test_pytest_loads_nothing_by_itself():
    assert not [one for one in entry_points(group="pytest11") if "jobledger" in one.value]


@pytest.mark.slow
def test_the_fixture_is_loaded_by_its_name(tmp_path: Path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["jobledger_client.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(
        "from jobledger_client import JobClient\n\n\n"
        "def test_it(jobledger_server: str):\n"
        "    with JobClient(jobledger_server) as client:\n"
        '        assert client.create_job("a").created\n'
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=False)
    assert (ran.returncode, "1 passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr
