"""The shell examples: requests parse against the contract, command lines parse, and the tour of the README works."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import typer
from google.longrunning import operations_proto_pb2
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from jobledger.v1 import admin_service_pb2, job_service_pb2, webhook_service_pb2, worker_service_pb2
from jobledger_client.cli._main import application
from jobledger_service.cli.main import cli as server_cli

from examples.processes import ending
from tests.conftest import StartServer
from tests.docs.documents import ROOT, SHELL_COMMANDS, TARGET, Command
from tests.support.bounds import BOUND
from tests.support.foreign import BUF, FLAGS
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

ADMIN_TARGET = "127.0.0.1:7071"
SERVICES = (
    admin_service_pb2,
    channelz_pb2,
    health_pb2,
    job_service_pb2,
    operations_proto_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)
KNOWN = {module.DESCRIPTOR.name for module in SERVICES}
PROGRAMS = {
    "jobledger": typer.main.get_command(application()),
    "jobledger-server": typer.main.get_command(server_cli),
}
UNCHECKED = {
    "celery",
    "curl",
    "echo",
    "grep",
    "node",
    "npm",
    "python",
    "sqlite3",
}  # programs of others, whose arguments we have no parser for


def of(*programs: str) -> list[Command]:
    """Return the commands of these programs."""
    return [command for command in SHELL_COMMANDS if command.words[0] in programs]


def method_of(command: Command) -> MethodDescriptor:
    """Return the method that a command of grpcurl or buf calls."""
    service, _, method = command.words[-1].removeprefix(f"http://{TARGET}/").partition("/")
    found = descriptor_pool.Default().FindServiceByName(service)
    assert found.file.name in KNOWN
    return found.methods_by_name[method]


def test_every_program_is_checked():
    checked = {"buf", "grpcurl", "jobledger", "jobledger-server", "make", "pip"}
    assert {command.words[0] for command in SHELL_COMMANDS} <= checked | UNCHECKED


@pytest.mark.parametrize("command", of("grpcurl"), ids=str)
def test_a_request_is_one_of_the_contract(command: Command):
    assert command.words[1] == "-plaintext"
    assert command.words[-2] in {TARGET, ADMIN_TARGET}
    json_format.Parse(command.after("-d"), GetMessageClass(method_of(command).input_type)())


@pytest.mark.parametrize("command", of("buf"), ids=str)
def test_a_request_of_buf_is_one_of_the_contract_with_the_flags_of_the_tests(command: Command):
    assert list(command.words[1:-3]) == ["curl", *FLAGS]
    json_format.Parse(command.after("--data"), GetMessageClass(method_of(command).input_type)())


@pytest.mark.parametrize("command", of("jobledger", "jobledger-server"), ids=str)
def test_a_command_line_is_understood(command: Command):
    program, *arguments = command.words
    group = PROGRAMS[program]
    with group.make_context(program, arguments) as context:
        name, chosen, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with chosen.make_context(name, rest, parent=context):
            pass


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_a_target_is_in_the_makefile(command: Command):
    assert re.search(rf"^{command.words[1]}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def buf_curl(server: Server, command: Command, token: str) -> list[str]:
    """Return the command that does with buf what one with grpcurl does."""
    body = command.after("-d").replace("TOKEN", token)
    return [BUF, "curl", *FLAGS, "-d", body, f"http://{server.target}/{command.words[-1]}"]


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    """Return what ends programs with the test."""
    with ExitStack() as stack:
        yield stack


def test_the_tour_of_the_readme(start_server: StartServer, programs: ExitStack):
    server, token, watch, answers = start_server(), "", None, {}
    for command in (one for one in of("grpcurl") if one.document == "README.md"):
        call = buf_curl(server, command, token)
        method = method_of(command).name
        if method == "WatchJob":
            watch = programs.enter_context(ending(subprocess.Popen(call, stdout=subprocess.PIPE, text=True)))
            continue
        done = subprocess.run(call, timeout=BOUND, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        answers[method] = json.loads(done.stdout)
        if method == "ClaimChunks":
            token = answers[method]["chunks"][0]["lease"]["token"]
    assert answers["GetJob"]["job"]["chunksSummary"] == {"total": 5, "pending": 5}
    assert answers["Heartbeat"]["results"][0]["status"] == "LEASE_STATUS_OK"
    assert answers["CompleteChunks"]["results"][0]["chunkState"] == "CHUNK_STATE_COMPLETED"
    assert answers["CancelJob"]["outcome"] == "CANCEL_OUTCOME_REQUESTED"
    assert watch is not None
    messages, _ = watch.communicate(timeout=BOUND)
    assert watch.returncode == 0
    assert re.findall('"state": "(JOB_STATE_.*)"', messages)[-1] == "JOB_STATE_CANCELLED"
