"""What goes wrong, for people and for programs: a sentence or one JSON object on standard error, never a traceback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from jobledger_service.transport.errors import internal_status

from tests.client.shell import Shell
from tests.support.bounds import BOUND

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")


class _Failing(grpc.GenericRpcHandler):
    """Answers every call as a server with a defect does."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def fail(_: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort_with_status(internal_status("0123abcd"))

        return grpc.unary_unary_rpc_method_handler(fail)


@pytest.fixture
def failing() -> Iterator[str]:
    """Return the address of a server with a defect."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Failing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def error(result: str) -> dict[str, object]:
    """Return the error that is the one line on standard error."""
    [line] = result.splitlines()
    return json.loads(line)["error"]


def test_an_internal_error_shows_its_request_id(shell: Shell, failing: str):
    assert "request id 0123abcd" in shell("get", "x", "--target", failing, code=70)
    reported = error(shell("get", "x", "--target", failing, "-o", "json", code=70))
    assert (reported["status"], reported["reason"], reported["metadata"]) == (
        "INTERNAL",
        "INTERNAL",
        {"request_id": "0123abcd"},
    )


@pytest.mark.parametrize(
    ("words", "code", "reported"),
    [
        (["get", "no-such-job"], 66, {"status": "NOT_FOUND", "reason": "JOB_NOT_FOUND"}),
        (["watch", "no-such-job"], 66, {"status": "NOT_FOUND", "reason": "JOB_NOT_FOUND"}),
        (["create", "a.b", "--priority", "11"], 65, {"status": "INVALID_ARGUMENT", "reason": "INVALID_FIELD"}),
        (["list", "--target", "127.0.0.1:1", "--timeout", "1s"], 69, {"status": "UNAVAILABLE"}),
        (["list", "--state", "paused"], 2, {"reason": "USAGE"}),
        (["list", "--page-size", "many"], 2, {"reason": "USAGE"}),
        (["no-such-command"], 2, {"reason": "USAGE"}),
    ],
)
def test_with_json_an_error_is_one_object_on_standard_error(
    shell: Shell, words: list[str], code: int, reported: dict[str, object]
):
    out, err = shell.both(*words, "-o", "json", code=code)
    assert out == ""
    found = error(err)
    assert found["exitCode"] == code
    assert found["message"]
    assert {name: found[name] for name in reported} == reported


def test_the_fields_that_break_a_rule_are_in_the_object(shell: Shell):
    [violation] = error(shell("create", "a.b", "--priority", "11", "--output=json", code=65))["fieldViolations"]
    assert violation["field"] == "priority"


def test_a_defect_of_the_command_is_one_sentence_and_its_traceback_is_asked_for(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("jobledger_client.cli._tables.jobs", None)
    result = shell.both("list", code=70)[1].splitlines()
    assert [line.startswith("jobledger: TypeError: ") for line in result] == [True]
    assert "JOBLEDGER_TRACEBACK=1" in result[0]
    monkeypatch.setenv("JOBLEDGER_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in shell.both("list", code=70)[1]


def test_an_output_that_cannot_be_written_is_one_sentence(shell: Shell):
    command = [Path(sys.executable).with_name("jobledger"), "list", "--output", "json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=shell.environment, timeout=BOUND, check=False
        )
    assert done.returncode == 74
    assert error(done.stderr)["message"] == "No space left on device"
