"""The programs of examples/node, on grpc-js: calls, rich errors, and a watch that resumes when a server restarts."""

import json
import re
from collections.abc import Callable, Iterator
from subprocess import Popen

import pytest
from jobledger_service.transport import server as transport

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.node import PACKAGES, need_node, start
from tests.support.server import Server

pytestmark = [
    pytest.mark.one_store("a foreign client sees messages, not the store"),
    pytest.mark.slow,
    pytest.mark.long,
]

PRINT_OPTIONS = "import { OPTIONS } from './connection.js'; console.log(JSON.stringify(OPTIONS))"


@pytest.fixture(autouse=True)
def node() -> None:
    need_node()


def ran(*words: str) -> tuple[list[dict], dict | None]:
    """Run a program to its end, and return the lines that it printed and the error with which it ended."""
    process = start(*words)
    out, err = process.communicate(timeout=BOUND)
    assert process.returncode == (1 if err else 0), err
    return [json.loads(line) for line in out.splitlines()], json.loads(err) if err else None


def jobs(server: Server, *words: str) -> list[dict]:
    """Run jobs.js, which must succeed."""
    lines, error = ran("jobs.js", server.target, *words)
    assert error is None
    return lines


def refused(server: Server, *words: str) -> dict:
    """Run jobs.js, which must fail, and return the error."""
    lines, error = ran("jobs.js", server.target, *words)
    assert lines == []
    assert error is not None
    return error


@pytest.fixture
def watching() -> Iterator[list[Popen[str]]]:
    """Return a list of programs that are ended after the test."""
    started: list[Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_it_creates_a_job_once_and_lists_all_pages(server: Server, kind: str):
    first, again = jobs(server, "create", kind, f"{kind}-0"), jobs(server, "create", kind, f"{kind}-0")
    assert (first[0]["created"], again) == (True, [{"job_id": first[0]["job_id"], "created": False}])
    created = [first, *(jobs(server, "create", kind, f"{kind}-{number}") for number in (1, 2))]
    listed = jobs(server, "list", kind)
    assert [job["job_id"] for job in listed] == [job["job_id"] for [job] in reversed(created)]
    [got] = jobs(server, "get", listed[0]["job_id"])
    assert got["input"] == {"from": "node", "sizes": [1, 2.5, None]}


def test_it_reads_the_details_of_errors(start_server: StartServer, kind: str):
    server = start_server(rate_limit_write="2/hour")
    missing = refused(server, "get", "no-such-job")
    assert (missing["code"], missing["reason"]) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert missing["metadata"] == {"job_id": "no-such-job"}
    wrong = refused(server, "create", "NOT A KIND", "request")
    assert (wrong["code"], wrong["reason"], list(wrong["fields"])) == ("INVALID_ARGUMENT", "INVALID_FIELD", ["kind"])
    jobs(server, "create", kind, "request")
    limited = refused(server, "create", kind, "another")
    assert (limited["code"], limited["reason"]) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert 0 < limited["retryAfterMs"] <= 3_600_000


@pytest.mark.guarantee("3e.5")
@pytest.mark.parametrize("ending", ["drained", "killed"])
async def test_a_watch_resumes_after_restarts_without_a_gap_or_a_repeat(
    start_server: StartServer, connect: Callable[[Server], Api], watching: list[Popen[str]], kind: str, ending: str
):
    server = start_server()
    api = connect(server)
    job = await api.create(kind, item_count=3, chunk_size=1)
    process = start("jobs.js", server.target, "watch", job.job_id)
    watching.append(process)
    assert process.stdout is not None
    messages = [json.loads(process.stdout.readline())]
    assert (messages[0]["type"], messages[0]["state"]) == ("WATCH_MESSAGE_TYPE_SNAPSHOT", "JOB_STATE_QUEUED")
    for _ in range(3):
        server.stop() if ending == "drained" else server.kill()
        server.start()
        api = connect(server)
        [claimed] = await api.claim(kind)
        await api.complete(claimed)
        messages += [json.loads(process.stdout.readline()) for _ in range(2)]
    out, err = process.communicate(timeout=BOUND)
    assert (process.returncode, out, err) == (0, "", "")
    revisions = [int(message["revision"]) for message in messages]
    assert revisions == list(range(1, len(messages) + 1))
    assert messages[-1]["state"] == "JOB_STATE_COMPLETED"
    seen = messages[2]["cursor"]
    assert jobs(server, "watch", job.job_id, seen) == messages[3:]


def test_it_asks_whether_the_server_lives_as_seldom_as_the_server_demands():
    [options], _ = ran("--input-type=module", "--eval", PRINT_OPTIONS)
    demanded = dict(transport.OPTIONS)["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert 10_000 <= demanded < options["grpc.keepalive_time_ms"]


def test_every_version_is_exact():
    packages = json.loads(PACKAGES.read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in packages["dependencies"].values())
