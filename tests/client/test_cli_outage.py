"""The command line while the server is away: it says so, shows nothing old as if it lived, and goes on by itself."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from jobledger_client import JobClient

from tests.client.shell import COMMAND, complete
from tests.client.test_cli_stats import Terminal
from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")


class Shell:
    """The environment of commands that speak to one server."""

    def __init__(self, target: str) -> None:
        self.environment = os.environ | {"JOBLEDGER_TARGET": target}


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    """Return a server that a test may kill; it comes back at the same port."""
    return start_server()


@pytest.fixture
def client(own_server: Server) -> Iterator[JobClient]:
    with JobClient(own_server.target, timeout=CALL_TIMEOUT) as opened:
        yield opened


class Piped:
    """A command whose output and errors are pipes."""

    def __init__(self, shell: Shell, *words: str) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([COMMAND, *words], text=True, env=shell.environment, **pipes)
        assert self.process.stderr is not None
        self._errors = self.process.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def said(self, begins: str) -> str:
        """Return the next line on standard error that begins so."""
        while True:
            ready, _, _ = select.select([self._errors], [], [], BOUND)
            assert ready, f"{begins!r} did not come"
            line = self._errors.readline()
            assert line, f"{begins!r} did not come before the end"
            if line.startswith(begins):
                return line

    def line(self) -> str:
        """Return the next line on standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.mark.long
@pytest.mark.parametrize("command", ["watch", "create --wait"])
def test_over_a_pipe_it_reports_that_it_reconnects_and_continues(
    own_server: Server, client: JobClient, kind: str, command: str
):
    words = ["watch", client.create_job(kind).job.job_id] if command == "watch" else ["create", kind, "--wait"]
    with Piped(Shell(own_server.target), *words) as following:
        assert "QUEUED" in following.line()  # the watch has its first message before the server dies
        own_server.kill()
        assert " s ago: " in following.said("jobledger: reconnecting, last heard ")
        own_server.start()
        following.said("jobledger: reconnected after ")
        complete(client, kind)
        output, _ = following.process.communicate(timeout=BOUND)
        assert "COMPLETED  100.0 %" in output.splitlines()[-1]
        assert following.process.returncode == 0


@pytest.mark.long
def test_for_programs_each_notice_is_an_object_on_standard_error(own_server: Server, client: JobClient, kind: str):
    shell = Shell(own_server.target)
    client.create_job(kind, job_id=kind)
    with Piped(shell, "watch", kind, "--output", "json", "--timeout", "60s") as watching:
        assert json.loads(watching.line())["job"]["jobId"] == kind
        own_server.kill()
        notice = json.loads(watching.said('{"notice"'))["notice"]
        assert notice["kind"] in ("CONNECTING", "RECONNECTING")
        own_server.start()
        assert json.loads(watching.said('{"notice": {"kind": "RECONNECTED"'))["notice"]["message"]
        client.cancel_job(kind)
        output, _ = watching.process.communicate(timeout=BOUND)
        assert json.loads(output.splitlines()[-1])["job"]["state"] == "JOB_STATE_CANCELLED"
        assert watching.process.returncode == 4


@pytest.mark.long
@pytest.mark.parametrize("one", [True, False])
def test_a_watch_that_a_quota_refuses_says_so_and_begins_when_there_is_room(
    start_server: StartServer, kind: str, *, one: bool
):
    server = start_server(watches_per_owner="1")
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        job_id = client.create_job(kind).job.job_id
        with client.watch(job_id) as first:
            next(iter(first))
            words = (job_id,) if one else ("--kind", kind)
            with Piped(Shell(server.target), "watch", *words) as second:
                assert "quota max_watches" in second.said("jobledger: connecting for ")
                first.close()
                assert "QUEUED" in second.line()


@pytest.mark.long
def test_a_watch_of_many_jobs_reports_that_it_reconnects(own_server: Server, client: JobClient, kind: str):
    job_id = client.create_job(kind).job.job_id
    with Piped(Shell(own_server.target), "watch", "--kind", kind) as following:
        assert job_id in following.line()
        own_server.kill()
        assert " s ago: " in following.said("jobledger: reconnecting, last heard ")
        own_server.start()
        following.said("jobledger: reconnected after ")
        client.cancel_job(job_id)
        assert "CANCELLED" in following.line()


@pytest.mark.long
def test_on_a_terminal_watch_and_top_report_that_they_reconnect(own_server: Server, client: JobClient, kind: str):
    job_id = client.create_job(kind, display_name="my crawl").job.job_id
    shell = Shell(own_server.target)
    with Terminal(shell, "watch", job_id) as watch, Terminal(shell, "top", "--interval", "0.2") as top:
        watch.until("my crawl", "QUEUED")
        top.until("0 running · 1 queued")
        own_server.kill()
        watch.until("reconnecting, last heard ", " s ago")
        top.until("reconnecting, last heard ", " s ago")
        own_server.start()
        complete(client, kind)
        top.until("0 running · 0 queued")
        watch.until("COMPLETED")
        assert watch.end() == 0
        os.write(top.ours, b"q")
        assert top.end() == 0


def test_a_timeout_bounds_what_is_followed(own_server: Server, client: JobClient, kind: str):
    shell = Shell(own_server.target)
    for words in (["create", kind, "--wait"], ["watch", client.create_job(kind).job.job_id]):
        with Piped(shell, *words, "--timeout", "1s") as followed:
            assert "had not ended after --timeout 1.0s (QUEUED, 0.0 %)" in followed.said("jobledger: the job")
            assert followed.process.wait(BOUND) == 75
    assert [job.state for job in client.list_jobs(kinds=[kind])] == [1, 1]


@pytest.mark.long
def test_a_watched_job_that_nobody_claims_reports_it(own_server: Server, client: JobClient, kind: str, tmp_path: Path):
    job_id = client.create_job(kind).job.job_id
    shell = Shell(own_server.target)
    with Piped(shell, "watch", job_id) as piped, Terminal(shell, "watch", job_id) as terminal:
        assert piped.said("jobledger: no worker has claimed it for 1").endswith(f"; kind {kind}\n")
        terminal.until("no worker has claimed it for 1", f"kind {kind}")
        for process in (piped.process, terminal.process):
            process.send_signal(signal.SIGINT)
            assert process.wait(BOUND) == 130
